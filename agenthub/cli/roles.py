"""Commands for role files: look at one, write one, take over what other tools have, give back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agenthub import subjects
from agenthub.cli import EXIT_OK, EXIT_REFUSED
from agenthub.cli.names import AnyBody, RoleName
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, escaped, print_json, say
from agenthub.cli.setup import print_written
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from agenthub.organization import Organization
    from agenthub.starting import Written

Flag = Parameter(negative="")
_PROMPT = """\
You are the {name}. {description}

Say here what this role does, how it decides, what counts as done, and what it must never do."""


async def roles_show(name: RoleName, /, *, options: Options = DEFAULT) -> int:
    """Print a role as it works: its file, its terms with all defaults filled in, what it is told.

    Args:
        name: Which role.
    """
    from agenthub.roles import shown

    settings = options.settings()
    organization = options.organization(settings)
    role, terms = organization.role(name), organization.terms(name)
    data: dict[str, Any] = {
        "name": role.name, "description": role.description, "path": shown(role.path, settings.folder),
        "reports_to": role.settings.reports_to, "reports": list(organization.reports(name)),
        "skills": list(role.settings.skills), "subscribe": list(role.settings.subscribe),
        "tools": None if role.tools is None else list(role.tools), "replicas": role.settings.replicas,
        "fallback": role.settings.fallback, "terms": terms._asdict(), "budget": organization.budget_of(name),
        "permissions": role.settings.permissions.model_dump(mode="json"), "prompt": role.prompt,
    }  # fmt: skip
    data["terms"].pop("budget_usd_day")  # stands in the budget, where it may be missing
    if options.json:
        print_json(data, options)
        return EXIT_OK
    out = console()
    out.print(f"[bold]{escaped(role.name)}[/]  [dim]{escaped(data['path'])}[/]")
    out.print(escaped(role.summary))
    out.print()
    for key in ("reports_to", "reports", "skills", "subscribe", "tools", "replicas", "fallback"):
        if data[key]:
            value = ", ".join(data[key]) if isinstance(data[key], list) else data[key]
            out.print(f"  [dim]{key:<18}[/]{escaped(str(value))}")
    for group in ("terms", "budget"):
        for key, value in data[group].items():
            out.print(f"  [dim]{key:<18}[/]{escaped(f'{value:.15g}' if isinstance(value, float) else str(value))}")
    out.print()
    for line in role.prompt.splitlines():
        out.print(escaped(line))
    return EXIT_OK


async def roles_new(
    name: str,
    /,
    *,
    description: str = "",
    reports_to: AnyBody = None,
    skills: str = "",
    model: str | None = None,
    force: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    options: Options = DEFAULT,
) -> int:
    """Write a role file to begin with.

    Args:
        name: One word.
        description: When to use this role; its colleagues' models read it.
        reports_to: Its manager. Default: the operator.
        skills: What it can do: `api, sql`.
        model: Default: the organization's.
        force: Replace the file if it is there.
        dry_run: Only say what would be written.
    """
    from agenthub.starting import write

    if not subjects.token(name):
        raise ConfigError(f"`{name}` cannot be a role's name: letters, digits, `_` and `-`, at most 64.")
    settings, organization = _there(options)
    if reports_to is not None and reports_to != organization.operator:
        organization.role(reports_to)
    ours = [f"  reports_to: {reports_to}"] if reports_to else []
    ours += [f"  skills: [{', '.join(word.strip() for word in skills.split(','))}]"] if skills else []
    about = (description or f"Say here when to use {name}.").replace("\n", " ")
    front = [f"name: {name}", f"description: {_quoted(about)}", *([f"model: {model}"] if model else [])]
    front += ["agenthub:", *ours] if ours else []
    text = "\n".join(["---", *front, "---", _PROMPT.format(name=name, description=about), ""])
    written = write(settings, f"roles/{name}.md", text, force=force, dry_run=dry_run)
    return _said([written], options, f"edit {settings / written.path}, then `agenthub roles check`", dry_run=dry_run)


async def roles_import(
    source: Path,
    /,
    *,
    force: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    options: Options = DEFAULT,
) -> int:
    """Copy agent files into roles/: Claude Code's, and AGENTS.md of a company package.

    Args:
        source: Folder with agent files.
        force: Replace files that are there.
        dry_run: Only say what would be written.
    """
    from agenthub.starting import readable, write

    if not source.is_dir():
        raise ConfigError(f"There is no folder {source}.")
    folder, _ = _there(options)
    written = [
        write(folder, f"roles/{role.name}.md", text, force=force, dry_run=dry_run) for role, text in readable(source)
    ]
    return _said(written, options, "`agenthub roles check`", dry_run=dry_run)


async def roles_export(
    *names: RoleName,
    to: Path = Path(".claude/agents"),
    force: Annotated[bool, Flag] = False,
    dry_run: Annotated[bool, Flag] = False,
    options: Options = DEFAULT,
) -> int:
    """Write roles as Claude Code's agent files, without what only agenthub reads.

    Args:
        names: Which roles. Default: all.
        to: Into which folder.
        force: Replace files that are there.
        dry_run: Only say what would be written.
    """
    from agenthub.starting import as_file, write

    organization = options.organization()
    roles = [organization.role(name) for name in names] or list(organization.roles.values())
    written = [
        write(to, f"{role.name}.md", as_file(role, for_claude=True), force=force, dry_run=dry_run) for role in roles
    ]
    return _said(written, options, "`claude --agent NAME`", dry_run=dry_run)


def _there(options: Options) -> tuple[Path, Organization]:
    """The folder of the organization, and what is in it, also if it has no role yet."""
    from agenthub.organization import load_organization

    settings = options.settings()
    return settings.folder, load_organization(settings, strict=False)


def _said(written: list[Written], options: Options, next_step: str, *, dry_run: bool) -> int:
    """Print what became of the files; 6 if none was written since they were there."""
    kept = all(one.what == "kept" for one in written) and any("--force" in one.note for one in written)
    if options.json:
        print_json(written, options)
    else:
        print_written(written)
        say("nothing was written" if dry_run or kept else f"Next: {next_step}")
    return EXIT_REFUSED if kept else EXIT_OK


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ":#'\"{}[]&*!|>%@`") else text
