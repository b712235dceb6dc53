"""What a request says about the organization: the place of the role, what arrived, what was done since.

The endpoint keeps no state of a conversation: all of it is in the request. A conversation goes on for
months, so only what came after the last frame counts. Readers are tolerant; nothing here raises.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from agenthub.rehearsal.cache import content_text
from agenthub.rehearsal.lessons import Lesson, lessons
from agenthub.rehearsal.requests import Block, MergedTurn, MessagesRequest, merged

_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_COLLEAGUE = re.compile(r"-\s*([\w-]+)\s*:?\s*(.*)")
_SKILLS = re.compile(r"\[skills:\s*([^\]]*)\]\s*$")
_UNKNOWN = ("unknown whether", "outcome is unknown")
"""How the host words the result of a tool that was started before a crash, and how Claude Code does."""
_ENDING_TOOLS = ("finish", "delegate", "call_vote", "auction")
_TAKEN_UP_AGAIN = "You began with the next message before"
"""How the host begins a message on which work was interrupted."""
_NOT_MADE = ("was not made", "doesn't want to proceed with this tool use")
"""How the host words the result of a call that an interruption came before, and how Claude Code does."""
_DECISION = "<hub:decision"
_SETS_ASIDE = "yield_turn"
_BALLOT = re.compile(r'<hub:ballot options="([^"]*)"/>\s*$')
_TENDER = re.compile(r"<hub:tender/>\s*$")
_HAND_OVER = "<hub:hand-over-request"
"""How the host asks for a summary of the conversation, whatever is under way in it."""
_NOTICES = ("<hub:notice", "[", "<system-reminder>")
"""How the host begins a text of its own, in a frame or in brackets; the last is how Claude Code does."""
_SERVER = re.compile(r"mcp__agenthub__")
"""What Claude Code puts before the names of our own tools; those of other servers are called as they are."""


class Colleague(NamedTuple):
    """Another role as the system prompt describes it."""

    name: str
    description: str = ""
    skills: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where the role stands in its organization."""

    organization: str
    me: Colleague
    reports_to: str
    direct_reports: tuple[str, ...]
    colleagues: dict[str, Colleague]


class Arrival(NamedTuple):
    """A message that arrived. A text without a frame is one too, of the type `plain`."""

    sender: str = ""
    type: str = "plain"
    subject: str = ""
    body: str = ""
    id: str = ""
    options: tuple[str, ...] = ()
    """What may be voted for, if it is a ballot."""
    is_tender: bool = False
    """True if it asks for a bid."""


class Answer(NamedTuple):
    """What one role answered to a delegated task; `missing` if it did not."""

    sender: str
    outcome: str
    subject: str = ""
    text: str = ""
    evidence: tuple[str, ...] = ()


class Answers(NamedTuple):
    """The answers to the tasks that were delegated for `asked`."""

    asked: Arrival
    answers: tuple[Answer, ...]
    verdict: str = ""
    """What a vote or an auction came to, in words; empty: there was none."""
    is_decided: bool = False
    """True if it came to anything."""


class Step(NamedTuple):
    """A tool call since the last arrival, with its result."""

    tool: str
    input: dict[str, Any]
    result: str
    is_error: bool
    round: int
    """Which answer of the model asked for it, from 0."""

    @property
    def is_unknown(self) -> bool:
        """True if it may or may not have happened."""
        return any(words in self.result.lower() for words in _UNKNOWN)


class Situation(NamedTuple):
    """All that an answer may depend on."""

    place: Place | None
    arrival: Arrival | Answers
    steps: tuple[Step, ...]
    tools: dict[str, frozenset[str]]
    """The tools that are offered, each with the names of its inputs; no names: they are not told."""
    turns: list[MergedTurn]
    rejected: str = ""
    """What a person said who did not allow the last call, if so."""
    is_urged: bool = False
    """True if the host has just said that something critical waits."""
    lessons: tuple[Lesson, ...] = ()
    """What others found and fits the message that arrived."""

    @property
    def rounds(self) -> int:
        """How many answers of the model are carried out. One whose outcome is unknown is not."""
        unknown = {step.round for step in self.steps if step.is_unknown}
        return len({step.round for step in self.steps} - unknown)

    @property
    def error(self) -> Step | None:
        """The last step, if it failed."""
        last = [step for step in self.steps if step.round == self.steps[-1].round]
        return next((step for step in last if step.is_error and not step.is_unknown), None)

    @property
    def paths(self) -> list[str]:
        """Files that were written since the last arrival, each once."""
        written = [step.input.get("path") for step in self.steps if step.tool == "write_file" and not step.is_error]
        return list(dict.fromkeys(path for path in written if isinstance(path, str)))


def offered_names(request: MessagesRequest) -> dict[str, str]:
    """Plain names of the tools, `finish`, and what they are called in this request, `mcp__agenthub__finish`."""
    return {_SERVER.sub("", tool.name, count=1): tool.name for tool in request.tools}


def with_plain_names(request: MessagesRequest) -> MessagesRequest:
    """The request as if each tool, and each call of one, were called by its plain name."""
    names = {offered: plain for plain, offered in offered_names(request).items() if offered != plain}
    if not names:
        return request
    tools = [tool.model_copy(update={"name": names.get(tool.name, tool.name)}) for tool in request.tools]
    turns = [
        turn.model_copy(update={"content": [_plainly(block) for block in turn.blocks()]}) for turn in request.messages
    ]
    return request.model_copy(update={"tools": tools, "messages": turns})


def _plainly(block: Block) -> Block:
    return {**block, "name": _SERVER.sub("", block["name"], count=1)} if block["type"] == "tool_use" else block


def read(request: MessagesRequest) -> Situation:
    """The situation of the role that asks."""
    turns = [turn for turn in merged(request.messages) if turn.role != "system"]
    index, arrival = _last_arrival(turns)
    offered = {tool.name: frozenset((tool.input_schema or {}).get("properties") or ()) for tool in request.tools}
    if request.tool_choice and request.tool_choice.type == "none":
        offered = {}
    system = "\n".join(block["text"] for block in request.system_blocks())
    is_urged = _SETS_ASIDE in offered and any(_SETS_ASIDE in text for turn in turns[-1:] for text in _texts(turn))
    steps, rejected = _steps(_since(turns, index, arrival)), _rejected(turns[index]) if turns else ""
    task = f"{arrival.subject} {arrival.body}" if isinstance(arrival, Arrival) else ""
    said = [text for turn in turns if turn.role == "user" for text in _texts(turn)]
    taught = tuple(lessons(_texts(turns[index]) if turns else (), said, task)) if task.strip() else ()
    return Situation(place_of(system), arrival, steps, offered, turns, rejected, is_urged, taught)


def place_of(system: str) -> Place | None:
    """Place that the system prompt describes; None if it describes none."""
    start = system.find("<hub:place>")
    if start < 0:
        return None
    fields: dict[str, str] = {}
    colleagues: dict[str, Colleague] = {}
    for line in system[start + len("<hub:place>") :].split("</hub:place>", 1)[0].splitlines():
        name, colon, value = line.strip().partition(":")
        if line.strip().startswith("-"):
            if found := _COLLEAGUE.match(line.strip()):
                skills = _SKILLS.search(found[2])
                about = found[2][: skills.start()] if skills else found[2]
                colleagues[found[1]] = Colleague(found[1], about.strip(), _words(skills[1] if skills else ""))
        elif colon:
            fields[name.strip().lower()] = html.unescape(value.strip())
    me = Colleague(fields.get("role", "agent"), fields.get("description", ""), _words(fields.get("skills", "")))
    return Place(
        fields.get("organization", "the organization"),
        me,
        fields.get("reports_to", ""),
        tuple(name for name in _words(fields.get("direct_reports", "")) if name.lower() != "none"),
        colleagues,
    )


def arrivals(turns: list[MergedTurn]) -> Iterator[Arrival | Answers]:
    """Every framed message and answer of the conversation, oldest first."""
    for index, turn in enumerate(turns):
        if turn.role == "user":
            for text in _texts(turn):
                if (found := _frame(text, turns[: index + 1])) is not None:
                    yield found


def last_user_text(request: MessagesRequest) -> str:
    """The last text that came from the user's side, for the journal and for faults."""
    for turn in reversed(request.messages):
        if turn.role == "user":
            texts = [block["text"] for block in turn.blocks() if block["type"] == "text"]
            if texts:
                return str(texts[-1])
    return ""


def _last_arrival(turns: list[MergedTurn]) -> tuple[int, Arrival | Answers]:
    for index in range(len(turns) - 1, -1, -1):
        if turns[index].role != "user":
            continue
        texts = _texts(turns[index])
        if texts and texts[-1].startswith(_HAND_OVER):
            return index, Arrival(body=texts[-1])
        for text in reversed(texts):
            if (found := _frame(text, turns[: index + 1])) is not None:
                return index, found
        # A notice of the host and a text amid tool calls are no arrivals: the work on the last one goes on.
        if texts and not texts[-1].lstrip().startswith(_NOTICES) and not _is_amid(turns, index):
            return index, Arrival(body=texts[-1])
    return 0, Arrival()


def _since(turns: list[MergedTurn], index: int, arrival: Arrival | Answers) -> list[MergedTurn]:
    """The work on the last arrival; of one that was interrupted also what was done before."""
    work = turns[index + 1 :]
    if not any(_TAKEN_UP_AGAIN in text or _DECISION in text for text in _texts(turns[index])):
        return work
    before: list[MergedTurn] = []
    is_on_it = False
    for at, turn in enumerate(turns[: index + 1]):
        found = [_frame(text, turns[: at + 1]) for text in _texts(turn)] if turn.role == "user" else []
        # A turn that brings another message also brings the results of the calls before.
        before += [turn] if is_on_it else []
        if any(found):
            is_on_it = arrival in found
    return before + work


def _rejected(turn: MergedTurn) -> str:
    for text in _texts(turn):
        head, _, rest = text[text.rfind(_DECISION) :].partition(">") if _DECISION in text else ("", "", "")
        if _attributes(head).get("decision") == "rejected":
            return rest.split("</hub:decision>", 1)[0].strip()
    return ""


def _is_amid(turns: list[MergedTurn], index: int) -> bool:
    """True if the turn brings results of calls that did not end the work."""
    results = {block["tool_use_id"] for block in turns[index].blocks if block["type"] == "tool_result"}
    calls = [block for turn in turns[:index][-1:] for block in turn.blocks if block["type"] == "tool_use"]
    return bool(results) and not any(block["name"] in _ENDING_TOOLS for block in calls)


def _frame(text: str, before: list[MergedTurn]) -> Arrival | Answers | None:
    """The last frame in a text; None if there is none."""
    message, answers, decision = text.rfind("<hub:message"), text.rfind("<hub:answers"), text.rfind(_DECISION)
    if decision > max(message, answers):  # the work on the task that waited for it goes on
        task = _attributes(text[decision:].partition(">")[0]).get("task", "")
        return _asked(task, before)
    if message < 0 and answers < 0:
        return None
    return _message(text[message:]) if message > answers else _answers(text[answers:], before)


def _message(text: str) -> Arrival:
    head, _, rest = text.partition(">")
    fields = _attributes(head)
    body = rest.split("</hub:message>", 1)[0].strip()
    ballot, tender = _BALLOT.search(body), _TENDER.search(body)
    if found := ballot or tender:
        body = body[: found.start()].strip()
    return Arrival(
        fields.get("from", ""),
        fields.get("type", "direct_message"),
        fields.get("subject", ""),
        body,
        fields.get("id", ""),
        tuple(html.unescape(ballot[1]).split(" | ")) if ballot else (),
        tender is not None,
    )


def _answers(text: str, before: list[MergedTurn]) -> Answers:
    head, _, rest = text.partition(">")
    fields = _attributes(head)
    task, subject = fields.get("task", ""), fields.get("subject", "")
    answers: list[Answer] = []
    verdict, decided = "", ""
    for piece in rest.split("</hub:answers>", 1)[0].split("<hub:")[1:]:
        opening, _, body = piece.partition(">")
        fields = _attributes(opening)
        if piece.startswith("tally "):
            verdict, decided = html.unescape(body.split("</hub:", 1)[0]), fields.get("decision", "")
        elif piece.startswith("award "):
            verdict, decided = f"it went to {fields.get('to', '?')}", fields.get("to", "")
        elif piece.startswith("answer "):
            answers.append(_answer(fields, body.split("</hub:answer>", 1)[0]))
        elif piece.startswith("missing"):
            answers.append(Answer(fields.get("from", "?"), "missing", text=fields.get("reason", "no answer")))
    asked = _asked(task, before) or Arrival(id=task, type="task_assignment", subject=subject)
    return Answers(asked, tuple(answers), verdict, decided not in ("", "none", "nobody"))


def _answer(fields: dict[str, str], body: str) -> Answer:
    lines = body.strip().splitlines()
    evidence: list[str] = []
    while lines and lines[-1].strip().lower().startswith("evidence:"):
        evidence = [item.strip() for item in lines.pop().split(":", 1)[1].split(",") if item.strip()] + evidence
    outcome = fields.get("outcome", "done")
    return Answer(
        fields.get("from", "?"), outcome, fields.get("subject", ""), "\n".join(lines).strip(), tuple(evidence)
    )


def _asked(task: str, turns: list[MergedTurn]) -> Arrival | None:
    """The message whose work was delegated, if the conversation still holds it."""
    for turn in reversed(turns):
        for text in _texts(turn) if turn.role == "user" and task else []:
            at = text.find(f'<hub:message id="{html.escape(task)}"')
            if at >= 0:
                return _message(text[at:])
    return None


def _steps(turns: list[MergedTurn]) -> tuple[Step, ...]:
    results: dict[str, Block] = {}
    for turn in turns:
        if turn.role == "user":
            results |= {block["tool_use_id"]: block for block in turn.blocks if block["type"] == "tool_result"}
    steps: list[Step] = []
    rounds = [turn for turn in turns if turn.role == "assistant"]
    for number, turn in enumerate(rounds):
        for block in turn.blocks:
            if block["type"] == "tool_use" and block["name"] != _SETS_ASIDE:
                result = results.get(block["id"], {})
                text = content_text(result.get("content"))
                if any(words in text for words in _NOT_MADE):
                    continue
                steps.append(Step(block["name"], block["input"], text, bool(result.get("is_error")), number))
    return tuple(steps)


def _texts(turn: MergedTurn) -> list[str]:
    return [block["text"] for block in turn.blocks if block["type"] == "text"]


def _attributes(head: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(head)}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
