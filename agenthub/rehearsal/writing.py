"""The prose of the rehearsal model: delegations, reports, summaries. Pure text in, text out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agenthub.rehearsal import trades
from agenthub.rehearsal.frames import Answer, Arrival, Colleague
from agenthub.rehearsal.trades import Trade

MAX_SUBJECT = 60
_ASKED = "What was asked: "
_PART = " – "
"""Between a topic and the part of it that a report takes over."""

OUTCOME_WORDS = {
    "done": "done",
    "blocked": "blocked",
    "needs_human": "needs a person",
    "failed": "failed",
    "refused": "refused",
    "missing": "no answer",
}


def topic_of(arrival: Arrival, text: str) -> str:
    """What a message is about in a few words: its subject without the part, else its first sentence.

    `Dark mode: design it, build it …` is about dark mode.
    """
    whole = arrival.subject.split(_PART, 1)[0].strip() or sentence(text).rstrip(".!?:")
    head, colon, _ = whole.partition(": ")
    if colon and len(head) <= 40:
        whole = head
    return clip(whole or "this task", 40)


def ask_of(text: str) -> str:
    """What was asked in one line: of the one who asked first, if the text hands it on."""
    handed_on = next((line for line in text.splitlines() if line.startswith(_ASKED)), "")
    return clip(" ".join((handed_on.removeprefix(_ASKED) or text).split()), 240)


def sentence(text: str) -> str:
    """First sentence of the first line that says something."""
    line = next((line.strip(" #*-") for line in text.splitlines() if line.strip(" #*-")), "")
    return re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]


def clip(text: str, length: int) -> str:
    """Text of at most `length` characters, cut between words and marked as cut."""
    if len(text) <= length:
        return text
    cut = text[: length - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[length // 2 :] else cut).rstrip(" ,;:-–") + "…"


def asker(sender: str) -> str:
    return "the operator" if sender in ("you", "") else sender


def delegated_subject(topic: str, trade: Trade) -> str:
    return clip(topic, MAX_SUBJECT - len(_PART) - len(trade.part)) + _PART + trade.part


def delegated_message(
    report: Colleague, trade: Trade, topic: str, ask: str, *, others: Sequence[str], chance: int
) -> str:
    """A task as one hands it to a report: what for, what exactly, with whom, what to bring back."""
    openings = (
        f"Please take over the part “{trade.part}” of “{topic}”.",
        f"“{topic}” needs you for: {trade.part}.",
        f"I need {trade.deliverable} for “{topic}”.",
    )
    together = f"{_listed(others)} work on the other parts at the same time. " if len(others) > 1 else ""
    together = together or (f"{others[0]} works on the other part at the same time. " if others else "")
    return "\n".join(
        (
            openings[chance % len(openings)],
            "",
            f"{_ASKED}{ask}",
            "",
            f"Bring back {trade.deliverable}.",
            *(f"- {ask_for[0].upper()}{ask_for[1:]}." for ask_for in trade.asks),
            "",
            f"{together}Name your files as evidence. If something is missing, say so early instead of guessing.",
        )
    )


def delegating(names: Sequence[str], topic: str, chance: int) -> str:
    """The sentence before a delegation."""
    who = _listed(names)
    return (
        f"I hand “{topic}” to {who} and put their answers together.",
        f"“{topic}” splits into {len(names)} part{'s' * (len(names) != 1)}; I ask {who}.",
        f"{who[0].upper()}{who[1:]} can work on “{topic}” side by side; I wait for all of them.",
    )[chance % 3]


def finish_summary(trade: Trade, topic: str, *, sender: str, paths: Sequence[str], lines: int, chance: int) -> str:
    """What a specialist says at the end: what there is, what is in it, the risk, what comes next."""
    what = trade.deliverable[0].upper() + trade.deliverable[1:]
    first = (
        f"{what} is ready for {asker(sender)}.",
        f"I wrote {trade.deliverable} for “{topic}”.",
        f"{what} for “{topic}” is finished.",
    )[chance % 3]
    seen = f"{_listed(paths)}{f', {lines} lines, read back once' if lines else ''}" if paths else "nothing was written"
    return "\n".join(
        (
            first,
            f"Where: {seen}.",
            f"In it: {trade.holds}.",
            f"Risk: {trade.risk}.",
            f"Next: {trade.next}.",
        )
    )


def headline(topic: str, sender: str, answers: Sequence[Answer]) -> str:
    """How the whole stands, in one sentence."""
    done = sum(answer.outcome == "done" for answer in answers)
    asked = f"{topic}, asked by {asker(sender)}: "
    if done == len(answers):
        parts = {1: "the one part is", 2: "both parts are"}.get(done, f"all {done} parts are")
        return f"{asked}{parts} done ({_listed([answer.sender for answer in answers])})."
    gaps = [f"{answer.sender} ({OUTCOME_WORDS.get(answer.outcome, answer.outcome)})" for answer in answers]
    open_ = _listed([gap for gap, answer in zip(gaps, answers, strict=True) if answer.outcome != "done"])
    return f"{asked}{done} of {len(answers)} parts done; open: {open_}."


def merged_summary(topic: str, sender: str, answers: Sequence[Answer], path: str) -> str:
    """A manager's answer, to be read in ten lines at most: the whole, each part, risks, what comes next."""
    lines = [headline(topic, sender, answers)]
    shown = answers if len(answers) <= 5 else answers[:4]
    lines += [f"- {_part(answer)}" for answer in shown]
    if len(answers) > len(shown):
        lines.append(f"- and {len(answers) - len(shown)} more: {_listed([a.sender for a in answers[len(shown) :]])}")
    lines.append(f"Risks: {'; '.join(risks(answers)[:3])}.")
    lines.append(f"Next: {'; '.join(next_steps(answers)[:3])}.")
    if path:
        lines.append(f"The whole report: {path}")
    return "\n".join(lines)


def merged_report(topic: str, ask: str, sender: str, role: str, answers: Sequence[Answer]) -> str:
    """The report that a manager writes: Markdown with each part, its outcome and its evidence."""
    lines = [f"# {topic}", "", f"Report of {role} for {asker(sender)}.", "", "## What was asked", "", ask or topic, ""]
    lines += ["## Result", "", headline(topic, sender, answers), "", "| who | outcome | evidence |", "|---|---|---|"]
    for answer in answers:
        outcome = OUTCOME_WORDS.get(answer.outcome, answer.outcome)
        lines.append(f"| {answer.sender} | {outcome} | {', '.join(answer.evidence) or '–'} |")
    lines += ["", "## What each did", ""]
    for answer in answers:
        lines += [f"### {answer.sender}{f': {answer.subject}' if answer.subject else ''}", "", answer.text or "–", ""]
    gaps = [answer for answer in answers if answer.outcome != "done"]
    lines += ["## What is missing", ""]
    lines += [f"- {_part(answer)}" for answer in gaps] or ["Nothing that was asked for."]
    lines += ["", "## Risks", "", *(f"- {risk}" for risk in risks(answers))]
    lines += ["", "## Next steps", "", *(f"{number}. {step}" for number, step in enumerate(next_steps(answers), 1))]
    return "\n".join(lines) + "\n"


def risks(answers: Sequence[Answer]) -> list[str]:
    """What may still go wrong: the gaps first, then what each named."""
    gaps = [f"the part of {answer.sender} is open" for answer in answers if answer.outcome != "done"]
    return gaps + _named(answers, "Risk") or ["none was named"]


def next_steps(answers: Sequence[Answer]) -> list[str]:
    """What to do now: close the gaps, then what each proposed."""
    steps = {
        "needs_human": "a person decides what {} asks",
        "missing": "ask {} again, or give the part to somebody else",
    }
    gaps = [
        steps.get(answer.outcome, "clear with {} what stands in the way").format(answer.sender)
        for answer in answers
        if answer.outcome != "done"
    ]
    return gaps + _named(answers, "Next") or ["nothing is left to do"]


def _named(answers: Sequence[Answer], label: str) -> list[str]:
    """What the answers say behind a label such as `Risk:`; of a merged answer, its first."""
    found = []
    for answer in answers:
        match = re.search(rf"^{label}s?: (.+)$", answer.text, re.MULTILINE) if answer.outcome == "done" else None
        if match and match[1] != "none was named.":
            said = match[1].split("; ")[0].rstrip(".")
            found.append(said if said.endswith(")") else f"{said} ({answer.sender})")
    return found


def _part(answer: Answer) -> str:
    outcome = OUTCOME_WORDS.get(answer.outcome, answer.outcome)
    said = sentence(answer.text).rstrip(".")
    said = clip(said.split(": ", 1)[-1] if ", asked by " in said else said, 120)
    return f"{answer.sender} ({outcome})" + (f": {said}" if said else "")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nobody"


def report_path(topic: str) -> str:
    return f"reports/{trades.slug(topic)}.md"
