"""The command that shows what a role says and does while it happens."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.lines import OUTCOME_STYLES
from agenthub.cli.names import RoleName
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import console, escaped, print_json, say
from agenthub.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from agenthub.transcript import LiveEvent


async def attach(
    role: RoleName, /, *, claude: Annotated[bool, Parameter(negative="")] = False, options: Options = DEFAULT
) -> int:
    """Show what a role says and does, as it happens. Ctrl-C ends the watching, never the work.

    Args:
        role: Whom to watch.
        claude: Print the shell line that opens a copy of the role's conversation in Claude Code instead.
    """
    if claude:
        return _claude(role, options)
    async with options.client() as client:
        statuses = [status for status in await client.roles() if status.role.partition(".")[0] == role]
        shown = Transcript(is_many=len(statuses) > 1)
        async with aclosing(client.live(role)) as events:
            if not any(status.heartbeat for status in statuses):
                client.organization.role(role)
                say(f"{role} is down; what it does shows here when it is back")
            elif not options.json:
                say(f"watching {role}; Ctrl-C ends that and disturbs nobody")
            async for key, event in events:
                if options.json:
                    print_json({"role": key, **event.model_dump(mode="json", exclude_defaults=True)}, options)
                else:
                    shown.put(key, event)
    return EXIT_OK


class Transcript:
    """What comes, on a screen: words as they stream, a line for everything else."""

    def __init__(self, *, is_many: bool) -> None:
        """`is_many` if the role has replicas: then each line says which one."""
        self._out, self._is_many = console(), is_many
        self._is_within_line = False

    def put(self, key: str, event: LiveEvent) -> None:
        """Show one event."""
        who = f"[dim]{escaped(key)}[/] " if self._is_many else ""
        text = escaped(next(iter(event.text.strip().splitlines()), ""))
        match event.kind:
            case "text":
                if event.is_anew:
                    self._line(f"{who}[yellow]the answer broke off; it is given again[/]")
                self._words(event.text)
            case "turn":
                self._line(
                    f"{who}[dim]{event.at.astimezone():%H:%M:%S}[/]  [bold]{text}[/]  "
                    f"[dim]{event.message_id[:8]} from {escaped(event.from_role)}[/]"
                )
            case "tool":
                self._line(f"{who}[magenta]▸ {escaped(event.tool)}[/] {text}")
            case "tool_ended":
                mark = "[red]✗[/]" if event.is_error else "[green]✓[/]"
                self._line(f"{who}  {mark} {text}  [dim]{event.duration_s:.1f} s[/]")
            case "notice":
                self._line(f"{who}[yellow]the host says:[/] {text}")
            case "ended":
                style = OUTCOME_STYLES.get(event.outcome, "yellow")
                self._line(f"{who}[{style}]■ {escaped(event.outcome.replace('_', ' '))}[/]  {text}")
            case _:
                self._break()

    def _words(self, text: str) -> None:
        safe = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
        sys.stdout.write(safe)
        sys.stdout.flush()
        self._is_within_line = not safe.endswith("\n") if safe else self._is_within_line

    def _line(self, markup: str) -> None:
        self._break()
        self._out.print(markup)
        sys.stdout.flush()

    def _break(self) -> None:
        if self._is_within_line:
            sys.stdout.write("\n")
            self._is_within_line = False


def _claude(role: str, options: Options) -> int:
    from agenthub.sessions.claude_code.place import resume_command
    from agenthub.sessions.claude_code.store import Store

    settings = options.settings()
    organization = options.organization_of_hub(settings)
    organization.role(role)
    if organization.terms(role).session != "claude-code":
        raise ConfigError(
            f"`{role}` is not played by Claude Code (`session: claude-code`). Use `agenthub attach {role}`."
        )
    journal = settings.state / "journals" / f"{role}.db"
    session_id = None
    if journal.exists():
        store = Store(journal)
        session_id = store.session_id()
        store.close()
    if session_id is None:
        raise NotFoundError(f"`{role}` has had no conversation with Claude Code in {settings.state} yet.")
    workspace, home = settings.state / "workspaces" / role, settings.state / "claude-code" / role
    command = resume_command(home.resolve(), workspace.resolve(), session_id)
    if options.json:
        print_json({"role": role, "session_id": session_id, "command": command}, options)
        return EXIT_OK
    print(command)
    say("opens a copy of the conversation; what you do there the role does not know")
    return EXIT_OK
