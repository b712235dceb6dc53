"""Role files: Markdown with YAML front matter, as Claude Code's agent files; ours under one `agenthub:` key.

The reader is tolerant where users have files already (their front matter is often not quite YAML) and strict
where a misspelt word would silently mean nothing: below `agenthub:`. A bad file is a problem with a line
number, never a reason not to read the others.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from agenthub import subjects
from agenthub.errors import unknown
from agenthub.front_matter import FrontMatter, FrontMatterError
from agenthub.permission_rules import is_known_tool, split_rules
from agenthub.role_files import COMPANY_FILE, DEFAULT_GLOBS, identity_of, role_paths
from agenthub.role_settings import MODEL_ALIASES, NAME_RULE, RoleSettings


class Problem(NamedTuple):
    """What is wrong with a file, and where; prints as one line for people."""

    path: str
    """Relative to the organization's folder."""
    line: int | None
    level: Literal["error", "warning"]
    text: str

    def __str__(self) -> str:
        return f"{self.path}{f', line {self.line}' if self.line else ''}: {self.text}"


class Role(BaseModel):
    """One role of the organization: who it is, what it is told, and under which terms it works."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    name: str
    description: str = ""
    """When to use this role; read by its colleagues' models."""
    prompt: str
    """The body of the file: the system prompt."""
    model: str | None = None
    """As written; None and `inherit`: the organization's default."""
    tools: tuple[str, ...] | None = None
    """Names as in Claude Code, `Bash(pytest *)` is one. None: all that the runtime offers."""
    path: Path
    color: str = ""
    settings: RoleSettings = RoleSettings()
    other: dict[str, Any] = Field(default_factory=dict)
    """The rest of the front matter, kept for tools that know it."""
    lines: dict[str, int] = Field(default_factory=dict, exclude=True, repr=False)
    """Line of each key under `agenthub:`, to say where something is wrong."""

    @property
    def summary(self) -> str:
        """The description up to its first line break or example."""
        return re.split(r"\n|\bExamples?:|<example>", self.description, maxsplit=1)[0].strip()


class RoleFiles(NamedTuple):
    """All roles that could be read, and what is wrong with the files."""

    roles: tuple[Role, ...]
    problems: tuple[Problem, ...]


# ── reading ────────────────────────────────────────────────────────────────────────────────────────
def read_roles(folder: Path, globs: Iterable[str] = DEFAULT_GLOBS) -> RoleFiles:
    """Read the role files of `folder`, glob by glob, each in order of name. The first of a name wins.

    Files named README.md are no roles. One file that two globs or a link lead to is read once.
    """
    roles: dict[str, Role] = {}
    problems: list[Problem] = []
    seen: set[Path] = set()
    for pattern in globs:
        try:
            paths = role_paths(folder, pattern)
        except ValueError as error:
            problems.append(Problem(pattern, None, "error", f"is not a glob below {folder}: {error}"))
            continue
        for path in paths:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            role, found = read_role(path, folder)
            problems += found
            if role is None:
                continue
            # Names that differ in case only would share journals and workspaces on some file systems.
            first = roles.setdefault(role.name.lower(), role)
            if first is not role:
                there = shown(first.path, folder)
                text = f"there is a role `{first.name}` already, in {there}; this file is not used"
                problems.append(Problem(shown(path, folder), None, "warning", text))
    return RoleFiles(tuple(roles.values()), tuple(problems))


def _meant(model: str | None) -> str:
    """The short name that this one is nearly; empty: it is one, or it is a name of its own, of a server elsewhere."""
    names = (*MODEL_ALIASES, "inherit")
    return "" if not model or model in names else next(iter(difflib.get_close_matches(model, names, 1, 0.8)), "")


def read_role(path: Path, folder: Path) -> tuple[Role | None, list[Problem]]:
    """Read one role file; None if a problem of level `error` is among its problems."""
    place = shown(path, folder)
    try:
        front = FrontMatter.read(path.read_text("utf-8-sig"))
    except OSError as error:
        return None, [Problem(place, None, "error", f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return None, [Problem(place, None, "error", f"is not UTF-8 text; byte {error.start} is wrong")]
    except FrontMatterError as error:
        return None, [Problem(place, error.line, "error", error.text)]
    return _role(path, place, front)


def not_a_key(dotted: str, known: Iterable[str]) -> str:
    """Sentence for a misspelt key: says the nearest right one, or lists what there is."""
    key = dotted.rpartition(".")[2]
    return f"`{dotted}` is not a key. " + unknown("key", key, known).removeprefix(f"There is no key `{key}`. ")


def explain(
    error: ValidationError,
    model: type[BaseModel],
    *,
    path: str,
    prefix: tuple[str, ...],
    lines: Mapping[tuple[str, ...], int],
) -> list[Problem]:
    """One problem for each wrong key or value that pydantic found below the key `prefix`."""
    problems = []
    for entry in error.errors(include_url=False):
        where = (*prefix, *(str(part) for part in entry["loc"]))
        # A wrong item of a list has no line of its own: take that of the nearest key around it.
        line = next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), None)
        dotted = ".".join(where)
        if entry["type"] == "extra_forbidden":
            text = not_a_key(dotted, _keys_at(model, entry["loc"][:-1]))
        elif entry["type"] == "value_error":
            text = f"`{dotted}` {entry['msg'].removeprefix('Value error, ')}"
        else:
            text = f"`{dotted}`: {entry['msg']}; found {entry['input']!r}"
        problems.append(Problem(path, line, "error", text))
    return problems


def _role(path: Path, place: str, front: FrontMatter) -> tuple[Role | None, list[Problem]]:
    values, lines = dict(front.values), front.lines
    problems = [
        Problem(place, lines[key], "error", f"`{'.'.join(key)}` stands twice; keep one")
        for key in front.twice
        if key[0] == "agenthub"
    ]

    def wrong(key: str, text: str) -> None:
        problems.append(Problem(place, lines.get((key,)), "error", text))

    def word(key: str) -> str:
        value = values.pop(key, None)
        if isinstance(value, dict | list):
            wrong(key, f"`{key}` must be text; found {value!r}")
        return "" if value is None else str(value).strip()

    is_company_file = path.name == COMPANY_FILE
    key, place_name = identity_of(path)
    name = word(key) or place_name
    if not subjects.token(name):
        wrong("name", f"`{name}` cannot be a role's name: {NAME_RULE}. Write `name: {as_token(name) or 'a-word'}`")
    model = word("model")
    if near := _meant(model):
        text = f"`model`: `{model}` is none that is known. Did you mean `{near}`?"
        problems.append(Problem(place, lines.get(("model",)), "warning", text))
    tools = values.pop("tools", None)
    if isinstance(tools, str):
        tools = list(split_rules(tools))
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, str) for tool in tools)):
        wrong("tools", f"`tools` must be a list, or names with commas between them; found {tools!r}")
    elif strange := [tool for tool in tools or () if not is_known_tool(tool)]:
        text = f"`tools`: {', '.join(strange)}: there is nothing of that name here; the role works without"
        problems.append(Problem(place, lines.get(("tools",)), "warning", text))
    if not front.body:
        end = "" if not lines else " below the front matter"
        problems.append(Problem(place, None, "error", f"there is no text{end}; it is what the role is told to do"))

    ours = values.pop("agenthub", None)
    ours = {} if ours is None else ours
    if is_company_file and isinstance(ours, dict) and (manager := word("reportsTo")):
        ours = {"reports_to": manager, **ours}
    for key in difflib.get_close_matches("agenthub", values, n=1, cutoff=0.8):
        wrong(key, not_a_key(key, ["agenthub"]))
    settings = RoleSettings()
    try:
        settings = RoleSettings.model_validate(ours)
    except ValidationError as error:
        problems += explain(error, RoleSettings, path=place, prefix=("agenthub",), lines=lines)
    problems += [
        Problem(place, lines.get((key,)), "warning", f"`{key}` has no effect here; put it under `agenthub:`")
        for key in values
        if key in RoleSettings.model_fields and key != "skills"  # Claude Code has skills of its own
    ]
    description = word("description") or (word("title") if is_company_file else "")
    color = word("color")
    if any(problem.level == "error" for problem in problems):
        return None, problems
    role = Role(
        name=name,
        description=description.replace("\\n", "\n"),  # as Claude Code writes line breaks into plain text
        prompt=front.body,
        model=None if model in ("", "inherit") else model,
        tools=None if tools in (None, ["*"]) else tuple(tools),
        path=path,
        color=color,
        settings=settings,
        other=values,
        lines={key[1]: line for key, line in lines.items() if key[0] == "agenthub" and len(key) == 2},
    )
    return role, problems


def as_token(name: str) -> str:
    """`name` as one token of a subject: `Code Reviewer` → `code-reviewer`. Empty if nothing of it can stay."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-").lower()[:64]


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> Iterable[str]:
    """Keys that may stand at a place of a file; names of a mapping's items are passed over."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = _models(field.annotation) if field else []
        model = inner[0] if inner else model
    return model.model_fields


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in typing.get_args(annotation) for model in _models(part)]


def shown(path: Path, folder: Path) -> str:
    """`path` as people write it: relative to `folder` if it is inside."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
