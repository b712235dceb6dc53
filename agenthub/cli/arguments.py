"""What a command takes, as `--help` and docs/cli.md tell it."""

from __future__ import annotations

import inspect
from enum import Enum
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

if TYPE_CHECKING:
    import cyclopts


class Argument(NamedTuple):
    """One word or option of a command."""

    names: tuple[str, ...]
    """Long ones first; of one that turns a flag off last. Of a word without an option what stands for it: `ROLE`."""
    value: str
    """What stands for the value behind the names: `STR`, `PATH...`; empty for flags."""
    text: str
    group: str
    choices: tuple[str, ...]
    default: str
    """Empty: there is none, or it tells nothing."""
    is_positional: bool
    is_required: bool

    @property
    def label(self) -> str:
        """How it is written: `--priority -p CHOICE`."""
        if self.is_positional or not self.value:
            return " ".join(self.names)
        return f"{' '.join(self.names)} {self.value}"


def arguments_of(command: cyclopts.App) -> list[Argument]:
    """What this command takes, in the order in which it says so.

    The parser could read docstrings too, in each of four styles, and the source of classes besides: that takes longer
    than all the rest of `--help`.
    """
    taken = command.assemble_argument_collection()
    texts = _texts(command.default_command.__doc__ or "")
    return [_read(argument, texts) for argument in taken if argument.show]


def _read(argument: cyclopts.Argument, texts: dict[str, str]) -> Argument:
    parameter, field = argument.parameter, argument.field_info
    is_positional = argument.index is not None
    off = set(argument.negatives)
    said = [name.rstrip("_") if is_positional else name for name in argument.names]  # `id_` is an ID
    names = sorted(said, key=lambda name: (name in off, not name.startswith("--")))
    group: Any = parameter.group
    return Argument(
        names=tuple(names),
        value=_value(argument.hint),
        text=" ".join((parameter.help or texts.get(field.name, "")).split()),
        group=group[0].name,
        choices=argument.get_choices() or (),
        default=_default(field.default) if argument.show_default else "",
        is_positional=is_positional,
        is_required=argument.required,
    )


def _texts(docstring: str) -> dict[str, str]:
    """What the section `Args` of a docstring says of each name."""
    _, _, section = inspect.cleandoc(docstring).partition("\nArgs:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # the next section
        if name and line.startswith("     "):
            texts[name] += f" {line.strip()}"
        elif line:
            name, _, text = line.strip().partition(": ")
            texts[name] = text
    return texts


def _value(hint: Any) -> str:
    """`STR` for a text, `PATH...` for several paths, `CHOICE` for one of some words, nothing for a flag."""
    said = [part for part in get_args(hint) if part not in (NoneType, Ellipsis)]
    if hint is bool or bool in said:
        return ""
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        return "CHOICE"
    if get_origin(hint) in (tuple, list):
        return f"{_value(said[0])}..."
    return _value(said[0]) if said else str(hint.__name__).upper()


def _default(value: Any) -> str:
    return '""' if value == "" else str(value)
