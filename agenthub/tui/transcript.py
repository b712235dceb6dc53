"""What a role says and does, as blocks of text that grow."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from agenthub.client import LiveEvent
from agenthub.tui.palette import Palette
from agenthub.tui.pane import Pane
from agenthub.tui.wording import clock, lines_of, plain

_OUTCOMES = {
    "done": ("✔", "good"), "noted": ("✔", "dim"), "blocked": ("■", "warn"), "needs_human": ("◆", "hot"),
    "refused": ("✖", "warn"), "failed": ("✖", "bad"), "parked": ("‖", "dim"), "interrupted": ("‖", "warn"),
}  # fmt: skip


class Transcript:
    """Puts live events into a pane; words that stream in grow in their place."""

    def __init__(self, pane: Pane, palette: Palette) -> None:
        self._pane, self._palette = pane, palette
        self._said = ""
        self._tool: str | None = None
        """The tool whose end is not there yet, if its line is the last one."""

    def put(self, events: Iterable[LiveEvent]) -> None:
        """Show events; a burst is drawn once."""
        for event in events:
            self._put(event)

    def _put(self, event: LiveEvent) -> None:
        p, kind = self._palette, event.kind
        if kind == "text":
            self._words(event)
            return
        self._said = ""
        match kind:
            case "turn":
                head = p.text((f"{clock(event.at)} ", "dim"), (plain(event.text), "bold"), (_from(event), "dim"))
                self._pane.add([Text(""), head])
            case "tool":
                self._pane.add([self._tool_line(event, "⚙", "violet")])
                self._tool = event.tool
                return
            case "tool_ended":
                mark, style = ("✗", "bad") if event.is_error else ("✓", "good")
                line = self._tool_line(event, mark, style)
                line.append(f"  {event.duration_s:.1f} s", p.style("dim"))
                if self._tool == event.tool:
                    self._pane.replace_last(line)
                else:
                    self._pane.add([line])
            case "notice":
                self._pane.add([p.text(("  the host says: ", "warn"), (plain(event.text), "dim"))])
            case "ended":
                mark, style = _OUTCOMES.get(event.outcome, ("■", "warn"))
                words = event.outcome.replace("_", " ")
                first = next(iter(lines_of(event.text)), "")
                self._pane.add([p.text((f"{mark} {words}", f"{style} bold"), (f"  {first}", "dim"))])
            case _:
                return
        self._tool = None

    def _words(self, event: LiveEvent) -> None:
        is_new = not self._said
        self._said = event.text if event.is_anew else self._said + event.text
        self._tool = None
        block = Text(end="")
        for number, words in enumerate(lines_of(self._said.strip()) or [""]):
            block.append("● " if number == 0 else "\n  ", self._palette.style("good" if number == 0 else ""))
            block.append(words)
        if is_new:
            self._pane.add([block])
        else:
            self._pane.replace_last(block)

    def _tool_line(self, event: LiveEvent, mark: str, style: str) -> Text:
        words = plain(event.text)
        words = words.removeprefix(event.tool).strip()
        line = self._palette.text((f"  {mark} ", style), (plain(event.tool), "violet"), (f" {words}", ""))
        line.overflow = "ellipsis"  # a call is one line
        return line


def _from(event: LiveEvent) -> str:
    said = f"  {event.message_id[:8]}" if event.message_id else ""
    return f"{said} from {plain(event.from_role)}" if event.from_role else said
