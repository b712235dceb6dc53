"""Commands about meetings: convene, list, read the minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agenthub.cli import EXIT_OK
from agenthub.cli.choices import MeetingKind
from agenthub.cli.names import RoleName, RolesBetweenCommas
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import ago, escaped, print_json, say, table

if TYPE_CHECKING:
    from agenthub.minutes import Meeting


async def meeting_start(
    kind: MeetingKind, subject: str, /, *, members: RolesBetweenCommas = "", chair: RoleName = "",
    within: str | None = None, options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Convene a meeting; it is held without you, and nobody who is missing holds it up.

    Args:
        kind: standup, planning, incident or retrospective.
        subject: What it is about.
        members: Who is asked, with commas between them. Default: all roles.
        chair: Who decides at its end. Default: the member furthest up.
        within: Time box of each round: 10m, 1h.
    """
    from agenthub.client.meetings import Meetings

    within_s = None if within is None else duration(within, "--within").total_seconds()
    names = [name.strip() for name in members.split(",") if name.strip()]
    async with options.client() as client:
        meeting = await Meetings(client).start(kind, subject, members=names, chair=chair, within_s=within_s)
    if options.json:
        print_json(_as_data(meeting), options)
        return EXIT_OK
    say(f"convened {meeting.id}: {', '.join(meeting.members)}; `agenthub meeting show {meeting.id[-6:]}`")
    return EXIT_OK


async def meeting_ls(*, options: Options = DEFAULT) -> int:
    """List meetings, the newest first."""
    from agenthub.client.meetings import Meetings

    async with options.client() as client:
        found = await Meetings(client).all()
    if options.json:
        print_json([_as_data(one) for one in found], options)
        return EXIT_OK
    rows = [
        [
            one.id, ago(one.opened_at), one.state, one.chair or "-", str(len(one.decisions)), str(len(one.actions)),
            escaped(one.subject),
        ]
        for one in found
    ]  # fmt: skip
    columns = ["ID", "AGE", "STATE", "CHAIR", "DECIDED", "ACTIONS", "SUBJECT"]
    table(columns, rows, right=["AGE", "DECIDED", "ACTIONS"], free=["SUBJECT"])
    if not found:
        say("there was no meeting yet")
    return EXIT_OK


async def meeting_show(identity: str, /, *, options: Options = DEFAULT) -> int:
    """Print the minutes of a meeting, as far as it has come.

    Args:
        identity: As `agenthub meeting ls` lists it; its first or last letters are enough.
    """
    from agenthub.client.meetings import Meetings
    from agenthub.messages import now
    from agenthub.minutes import report

    async with options.client() as client:
        meeting = await Meetings(client).find(identity)
    if options.json:
        print_json(_as_data(meeting), options)
        return EXIT_OK
    print("".join(c if c.isprintable() or c == "\n" else " " for c in report(meeting, now())))
    if meeting.is_open:
        say(f"{meeting.state}")
    return EXIT_OK


def _as_data(meeting: Meeting) -> dict[str, Any]:
    said = [
        {"round": number, "role": part.role, "text": part.answer.text if part.answer else None}
        for number, ask in enumerate(meeting.asks, 1)
        for part in ask.parts
    ]
    return {**meeting.model_dump(mode="json", exclude={"asks", "sent"}), "state": meeting.state, "said": said}
