"""Commands to set an organization up: a folder to begin with, and what holds in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, escaped, print_json, say
from agenthub.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from agenthub.settings import Settings
    from agenthub.starting import Written

Flag = Parameter(negative="")


async def init(
    folder: Path = Path(),
    /,
    *,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    template: str = "startup",
    org: str | None = None,
    force: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    options: Options = DEFAULT,
) -> int:
    """Write what an organization needs to begin with. Nothing that is there is overwritten.

    Args:
        folder: Where; made if it is not there.
        from_: Take the roles of these agent files instead of a template's.
        template: Which roles to begin with: startup, pair.
        org: Name of the organization. Default: that of the folder.
        force: Overwrite what is there.
        dry_run: Only say what would be written.
    """
    from agenthub.starting import TEMPLATES, begin, typed

    if template not in TEMPLATES:
        raise NotFoundError(f"There is no template `{template}`. There are: {', '.join(TEMPLATES)}.")
    if from_ is not None and not from_.is_dir():
        raise ConfigError(f"There is no folder {from_}; --from takes one with agent files.")
    written = begin(folder, template=template, source=from_, org=org, force=force, dry_run=dry_run)
    written.append(_compose(folder, force=force, dry_run=dry_run))
    if not dry_run:
        _check(folder)
    if options.json:
        print_json({"folder": str(folder.absolute()), "files": written, "dry_run": dry_run}, options)
        return EXIT_OK
    print_written(written)
    there = "" if folder.absolute() == Path.cwd() else f"cd {folder} && "
    if dry_run:
        say("nothing was written")
    else:
        for before, command in (
            ("Next:", "agenthub up --rehearse -d --wait"),
            ("     ", f'agenthub send {_head(folder)} "Introduce yourself" --wait'),
        ):
            say(f"{before} {there}{typed(command, folder=folder)}")
    return EXIT_OK


def print_written(written: Sequence[Written]) -> None:
    """A line for each file: what became of it."""
    signs = {"written": "[green]+[/]", "kept": "[dim]=[/]", "added to": "[yellow]~[/]", "replaced": "[yellow]~[/]"}
    for one in written:
        note = f"  [dim]{escaped(one.note)}[/]" if one.note else ""
        console().print(f"{signs[one.what]} {one.what:<9} {escaped(one.path)}{note}")


def _compose(folder: Path, *, force: bool, dry_run: bool) -> Written:
    """The compose file, which names the roles that there are now."""
    from agenthub.compose_file import compose_file
    from agenthub.organization import load_organization
    from agenthub.starting import Written, write

    name = "compose.yaml"
    if dry_run:
        return Written(name, "kept" if (folder / name).exists() and not force else "written")
    settings = _settings(folder)
    try:
        text = compose_file(settings, load_organization(settings), servers=1)
    except ConfigError:  # what is wrong is listed below
        return Written(name, "kept", "not written; mend what is wrong, then `agenthub compose --small > compose.yaml`")
    return write(folder, name, text, force=force, dry_run=False)


def _check(folder: Path) -> None:
    """The organization that was written works, together with what was there before."""
    from agenthub.organization import load_organization

    found = load_organization(_settings(folder), strict=False)
    for problem in found.problems:
        say(f"agenthub: {problem.level}: {problem}")


def _head(folder: Path) -> str:
    from agenthub.organization import load_organization

    found = load_organization(_settings(folder), strict=False)
    reports = [role for role in found.roles.values() if role.settings.reports_to == found.operator]
    return next((role.name for role in reports if found.is_manager(role.name)), next(iter(found.roles), "ROLE"))


def _settings(folder: Path) -> Settings:
    from agenthub.settings import Settings

    return Settings.load(config=folder.absolute() / "agenthub.toml", folder=folder.absolute())


async def config(
    *,
    show_origin: Annotated[bool, Flag] = False,
    all_: Annotated[bool, Parameter(name=["--all", "-a"], negative="")] = False,
    options: Options = DEFAULT,
) -> int:
    """Print every setting as it holds now.

    Args:
        show_origin: Also where each comes from: a flag, a variable, a line of agenthub.toml, or the default.
        all_: Also what nobody has said anything about, and has no value.
    """
    from agenthub.origins import settings_of

    settings = options.settings()
    found = settings_of(settings, options.organization(settings), options.flags())
    if options.json:
        print_json(found, options)
        return EXIT_OK
    shown = [one for one in found if all_ or one.value not in (None, [], {}, "") or one.origin != "default"]
    width = max(len(one.key) for one in shown)
    for one in shown:
        value = json.dumps(one.value, ensure_ascii=False)
        origin = f"  [dim]# {escaped(one.origin)}[/]" if show_origin else ""
        console().print(f"[bold]{escaped(one.key):<{width}}[/] = {escaped(value)}{origin}")
    return EXIT_OK


async def schema(*words: str, options: Options = DEFAULT) -> int:
    """Print the JSON Schema of what a command prints with --json, of agenthub.toml, a role file or a message.

    Args:
        words: `config`, `role`, `message`, or a command such as `ps` or `inbox ls`. Nothing: a list of them.
    """
    from agenthub.cli.schemas import names, schema_of

    if words:
        print_json(schema_of(" ".join(words)), options)
        return EXIT_OK
    if options.json:
        print_json(names(), options)
        return EXIT_OK
    for name in names():
        print(name)
    say("print one with `agenthub schema NAME`")
    return EXIT_OK


async def completion(shell: Literal["bash", "zsh", "fish"], /, *, options: Options = DEFAULT) -> int:
    """Print what makes a shell complete commands, options, and names: of roles, teams, skills, contexts.

    Args:
        shell: Which one.
    """
    from agenthub.cli.shell_scripts import SCRIPTS

    script = SCRIPTS[shell]
    if options.json:
        print_json({"shell": shell, "script": script}, options)
    else:
        print(script, end="")
        where = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}[shell]
        if console().is_terminal:
            say(
                f"put into {where}: "
                + ("agenthub completion fish | source" if shell == "fish" else f'eval "$(agenthub completion {shell})"')
            )
    return EXIT_OK


async def cheat(*, options: Options = DEFAULT) -> int:
    """Print the commands that one needs most, by what one wants to do."""
    from agenthub.cli.cheat_sheet import SHEET

    if options.json:
        print_json([line._asdict() for line in SHEET], options)
        return EXIT_OK
    width = max(len(line.command) for line in SHEET)
    topic = ""
    for line in SHEET:
        if line.topic != topic:
            console().print(f"{'' if not topic else chr(10)}[bold]{line.topic}[/]")
            topic = line.topic
        console().print(f"  {escaped(line.command):<{width}}  [dim]{escaped(line.what)}[/]")
    return EXIT_OK
