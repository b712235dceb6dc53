"""One dead letter on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agenthub.cli.output import ago, console, escaped

if TYPE_CHECKING:
    from agenthub.client.letters import Buried

_SHOWN_BYTES = 512


def print_letter(buried: Buried) -> None:
    """Print everything about a dead letter; bytes that are no text as hex digits."""
    letter, message, out = buried.letter, buried.letter.message(), console()
    head = f"[bold]{escaped(letter.message_id)}[/]  [bold red]buried by {letter.role}[/]"
    tries = "1 try" if letter.attempts == 1 else f"{letter.attempts} tries"
    out.print(f"{head}  [dim]{ago(letter.buried_at)} ago, after {tries}[/]")
    out.print(f"[red]{escaped(first_line(letter.reason))}[/]")
    out.print()
    for line in letter.reason.strip().splitlines()[1:]:
        out.print(f"  [red]{escaped(line)}[/]")
    facts = {
        "from": f"{message.from_role}  ({message.type}, {message.payload.priority})" if message else "",
        "about": message.title if message else "",
        "trace": message.trace_id if message else "",
        "stored": f"{letter.stored_at.astimezone():%Y-%m-%d %H:%M:%S}  {letter.stream} {letter.sequence}",
        "buried": f"{letter.buried_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "came by": letter.subject,
        **{f"replay {mark.number}": _replayed(mark.new_id, mark.edited) for mark in buried.replays},
    }
    for name, fact in facts.items():
        if fact:
            out.print(f"  [dim]{name:<9}[/]{escaped(fact)}")
    _print_block("headers", [f"{name}: {value}" for name, value in letter.headers.items()])
    _print_block("earlier lives", [_life(life) for life in letter.history])
    _print_block("traceback", letter.traceback.rstrip().splitlines())
    if letter.body is None:
        data = letter.data
        lines = [_hex_line(data, at) for at in range(0, min(len(data), _SHOWN_BYTES), 16)]
        rest = [f"… {len(data):,} bytes in all"] if len(data) > _SHOWN_BYTES else []
        _print_block("message (no text)", [*lines, *rest])
    else:
        _print_block("message", letter.body.splitlines() or ["(empty)"])


def _print_block(title: str, lines: list[str]) -> None:
    if not lines:
        return
    out = console()
    out.print()
    out.print(f"[dim]{title}[/]")
    for line in lines:
        out.print(f"  {escaped(line)}")


def _life(life: dict[str, object]) -> str:
    reason = first_line(str(life.get("reason", "")))
    return f"{short(str(life.get('message_id')))}  {life.get('buried_at')}  {life.get('attempts', 1)} tries  {reason}"


def _replayed(new_id: str, edited: bool) -> str:
    return f"as {new_id}{' with another body' if edited else ''}"


def _hex_line(data: bytes, at: int) -> str:
    row = data[at : at + 16]
    return f"{at:06x}  {row.hex(' '):<47}  {''.join(chr(byte) if 32 <= byte < 127 else '·' for byte in row)}"


def short(message_id: str) -> str:
    """The beginning of a random id; the whole of one that says where the message was stored."""
    return message_id[:8] if len(message_id) == 32 else message_id


def first_line(text: str) -> str:
    """The first line that says something."""
    return next(iter(text.strip().splitlines()), "")
