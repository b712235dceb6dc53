"""Small windows over the screen: see all of something, say a word, confirm, help."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from agenthub.tui.decisions import as_blocks
from agenthub.tui.palette import Palette, below, entitle
from agenthub.tui.pane import Pane
from agenthub.tui.wording import plain


class Dialog(ModalScreen[str | None]):
    """A window in the middle; Escape closes it without an answer."""

    BINDINGS = [Binding("escape", "leave", "back", id="dialog.leave")]
    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > #window { border: round $accent; background: $background; padding: 0 1; width: 80%; max-width: 100;
        height: auto; max-height: 90%; }
    """

    @property
    def palette(self) -> Palette:
        return self.app.palette  # type: ignore[attr-defined,no-any-return]

    def title_window(self, title: str, subtitle: str, colour: str = "hot") -> None:
        p = self.palette
        window = self.query_one("#window")
        entitle(window, p.text((f" {plain(title)} ", f"{colour} bold")), p.text((f" {subtitle} ", "dim")))

    def action_leave(self) -> None:
        self.dismiss(None)


class Peek(Dialog):
    """All of something that a line shows the beginning of."""

    BINDINGS = [Binding("space,q,left", "leave", "close", show=False)]
    DEFAULT_CSS = """
    Peek > #window { border: round $primary; height: 80%; }
    Peek Pane { height: 1fr; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield Pane()

    def on_mount(self) -> None:
        self.query_one(Pane).show(as_blocks(self._text, self.palette))
        self.title_window(self._title, "esc closes · nothing is taken", "accent")
        self.query_one(Pane).focus()


class Confirm(Dialog):
    """A yes or a no before something that cannot be taken back."""

    BINDINGS = [Binding("y", "yes", "yes"), Binding("n,q", "leave", "no")]

    def __init__(self, question: str, detail: Sequence[str] = ()) -> None:
        super().__init__()
        self._question, self._detail = question, detail

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield Static(id="question", markup=False)

    def on_mount(self) -> None:
        p = self.palette
        shown = [Text(""), *(p.text((f"  {plain(line)}", "")) for line in self._detail[:8])]
        if len(self._detail) > 8:
            shown.append(p.text((f"  and {len(self._detail) - 8} more", "dim")))
        shown += [Text(""), p.text(("  y ", "warn bold"), ("yes   ", ""), ("n ", "warn bold"), ("no", ""))]
        self.query_one("#question", Static).update(below(shown))
        self.title_window(self._question, "esc: nothing is done")

    def action_yes(self) -> None:
        self.dismiss("yes")


class Say(Dialog):
    """Words of the person: a reason, or an answer; or one of some choices, by its number."""

    DEFAULT_CSS = "Say Input { border: none; height: 1; margin: 1 0; background: $panel; }"

    def __init__(
        self, title: str, about: str, *, choices: Sequence[str] = (), is_free: bool = True, hint: str = ""
    ) -> None:
        super().__init__()
        self._title, self._about, self._choices, self._is_free, self._hint = title, about, choices, is_free, hint

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield Static(id="about", markup=False)
            if self._is_free:
                yield Input(placeholder=self._hint, compact=True)

    def on_mount(self) -> None:
        p = self.palette
        shown = [Text(""), *as_blocks(self._about, p)[:12]]
        for number, choice in enumerate(self._choices, 1):
            shown.append(p.text((f"  {number} ", "warn bold"), (plain(choice), "")))
        self.query_one("#about", Static).update(below([*shown, *([] if self._is_free else [Text("")])]))
        how = "a number answers · esc: nothing is said" if self._choices else "enter sends · esc: nothing is said"
        self.title_window(self._title, how)
        if self._is_free:
            self.query_one(Input).focus()

    def on_key(self, event: events.Key) -> None:
        if self._choices and event.character and event.character.isdigit():
            place = int(event.character) - 1
            if 0 <= place < len(self._choices):
                event.stop()
                self.dismiss(self._choices[place])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value.strip())


class Help(Dialog):
    """The keys that do something here."""

    BINDINGS = [Binding("question_mark,q,space", "leave", "close", show=False)]
    DEFAULT_CSS = """
    Help > #window { border: round $primary; height: 90%; max-width: 110; width: 92%; }
    Help Pane { height: 1fr; }
    """

    def __init__(self, view: str, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """`rows`: group, key, what it does, id."""
        super().__init__()
        self._view, self._rows = view, rows

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield Pane()

    def on_mount(self) -> None:
        p, blocks, group = self.palette, [], ""
        for name, key, text, identity in self._rows:
            if name != group:
                group = name
                blocks += [Text(""), p.text((name, "accent bold"))]
            blocks.append(p.text((f"  {key:<14}", "warn"), (f"{text:<52}", ""), (identity, "faint")))
        self.query_one(Pane).show(blocks[1:])
        self.title_window(f"keys · {self._view}", "esc closes · names with a dot are for [tui.keymap]", "accent")
        self.query_one(Pane).focus()
