"""What a role answers: a pure function of the request and the seed.

Managers delegate and put the answers together; specialists write something small and real, look at it and
report. What looks like chance comes from a hash of seed, role and message, so the same task always takes
the same way. Begin with `play`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from agenthub.rehearsal import frames, steering, trades, writing
from agenthub.rehearsal.frames import Answer, Answers, Arrival, Colleague, Place, Situation
from agenthub.rehearsal.polls import polled
from agenthub.rehearsal.requests import MessagesRequest
from agenthub.rehearsal.steering import Steering

_SHORT_QUESTION = 240
_ASKED_TYPES = ("question", "direct_message")
_NOTED_TYPES = ("announcement", "reply", "task_result", "learning", "control", "system_event", "reminder", "escalation")
_NOBODY = Place("the organization", Colleague("assistant"), "", (), {})

MOST_ASKED = 7
"""As many as a manager asks at once."""


class Call(NamedTuple):
    """A tool call that the model asks for."""

    tool: str
    input: dict[str, Any]


class Reply(NamedTuple):
    """One answer of the model: what it says, then what it calls. No calls: the turn ends."""

    text: str
    calls: tuple[Call, ...] = ()
    stream_s: float | None = None
    """Seconds that writing it must take. None: as fast as the endpoint writes."""


def play(request: MessagesRequest, seed: int) -> Reply:
    """The answer to a request."""
    situation = frames.read(request)
    if situation.is_urged and not steering.read(_body(situation.arrival)).stubborn:
        return Reply("Something critical waits; I set this aside.", (Call("yield_turn", {}),))
    if isinstance(situation.arrival, Answers):
        return _merge(situation, situation.arrival)
    arrival, steered = situation.arrival, steering.read(situation.arrival.body)
    if arrival.options or arrival.is_tender:  # nobody passes it on
        steered = steering.meant_for((situation.place or _NOBODY).me.name, steered, arrival.body)
    return _work_on(situation, arrival, steered, seed)


def _body(arrival: Arrival | Answers) -> str:
    return arrival.asked.body if isinstance(arrival, Answers) else arrival.body


def _work_on(situation: Situation, arrival: Arrival, steered: Steering, seed: int) -> Reply:
    """What to do about a message: the words that steer come first, then the manner of the role."""
    if any(step.tool == "finish" and not step.is_error for step in situation.steps):
        return Reply("That is finished.")
    if situation.rejected:
        return _finish(situation, "blocked", situation.rejected)
    error, is_left = situation.error, bool(_left(situation, steered))
    goes_on = error is not None and (error.tool == "finish" or steered.stubborn) and is_left
    if situation.error and not goes_on:  # of an end that did not pass its check it mends what it is told to
        return _give_up(situation, situation.error)
    slow_s = steered.slow_s if situation.rounds == 0 else None
    return _steered_or_normal(situation, arrival, steered, seed)._replace(stream_s=slow_s)


def _left(situation: Situation, steered: Steering) -> int:
    """How many of the calls that it shall make are left."""
    return max(0, len(steered.tools) - situation.rounds)


def _call(situation: Situation, tool: str, **value: Any) -> Call:
    """A call of an offered tool, without inputs that its schema does not know."""
    known = situation.tools.get(tool)
    return Call(tool, {name: given for name, given in value.items() if not known or name in known})


def _steered_or_normal(situation: Situation, arrival: Arrival, steered: Steering, seed: int) -> Reply:
    if steered.mistake:
        return _finish(situation, "failed", steered.mistake)
    if (arrival.options or arrival.is_tender) and not (steered.outcome or steered.silent):
        said = polled((situation.place or _NOBODY).me, arrival, steered, seed)
        return _finish(situation, said.outcome, said.summary, **said.answer)
    if situation.rounds < len(steered.tools):
        name, value = steered.tools[situation.rounds]
        if name not in situation.tools:
            return _finish(situation, "failed", f"There is no tool `{name}` here. There are: {_known(situation)}.")
        return Reply(f"First I call {name}, as asked.", (Call(name, value),))
    if steered.silent:
        return Reply("I have looked at this and leave it here.")
    written = situation.rounds - len(steered.tools)
    if steered.steps is not None and written < steered.steps and "write_file" in situation.tools:
        text = f"# Step {written + 1} of {steered.steps}\n\n{steered.text or arrival.subject}\n"
        call = _call(situation, "write_file", path=f"notes/step-{written + 1}.md", content=text)
        return Reply(f"Step {written + 1} of {steered.steps}.", (call,))
    if steered.say is not None:
        return _finish(situation, "done", steered.say, situation.paths)
    if steered.outcome:
        return _finish(situation, steered.outcome, _honest(arrival, steered), situation.paths)
    if steered.steps is not None:
        return _finish(situation, "done", f"All {steered.steps} steps are done.", situation.paths)
    return _normal(situation, arrival, steered, seed)


def _normal(situation: Situation, arrival: Arrival, steered: Steering, seed: int) -> Reply:
    place = situation.place or _NOBODY
    chance = trades.pick(seed, place.me.name, arrival.subject, arrival.body)
    if arrival.type == "plain":
        return _plain(situation, steered)
    if arrival.type in _NOTED_TYPES:
        return _finish(situation, "done", f"Noted: {writing.topic_of(arrival, steered.text)}.")
    if arrival.type.startswith("meeting"):
        return _finish(situation, "done", _stand_up(situation, place))
    if arrival.type in _ASKED_TYPES and steered.text.endswith("?") and len(steered.text) <= _SHORT_QUESTION:
        return _finish(situation, "done", _answer_question(situation, place, arrival, steered, chance))
    if place.direct_reports and not steered.alone and "delegate" in situation.tools:
        return _delegate(situation, place, arrival, steered, seed, chance)
    return _do_it(situation, place, arrival, steered, chance)


def _plain(situation: Situation, steered: Steering) -> Reply:
    """Answer to a text that is no message of the hub: a hand-over, or somebody who talks to the model itself."""
    lowered = steered.text.lower()
    if "hand-over" in lowered or "handover" in lowered:
        return Reply(_hand_over(situation))
    if situation.steps:
        return Reply(f"{situation.steps[-1].tool} answered: {writing.clip(situation.steps[-1].result, 400)}")
    if situation.place:
        me = situation.place.me
        return Reply(f"I am {me.name} of {situation.place.organization}. {writing.sentence(me.description)}".strip())
    return Reply(f"This is the rehearsal model. You wrote: “{writing.clip(writing.sentence(steered.text), 80)}”")


def _delegate(situation: Situation, place: Place, arrival: Arrival, steered: Steering, seed: int, chance: int) -> Reply:
    if any(step.tool == "delegate" and not step.is_unknown for step in situation.steps[len(steered.tools) :]):
        return Reply("It is handed out; I go on when the answers are here.")
    topic, ask = writing.topic_of(arrival, steered.text), writing.ask_of(steered.text or arrival.subject)
    reports = choose_reports(place, f"{arrival.subject} {steered.text}", steered.passed_on, seed)
    names = [report.name for report in reports]
    tasks: list[dict[str, str]] = []
    for report in reports:
        trade = trades.trade_of(report)
        others = [name for name in names if name != report.name]
        message = writing.delegated_message(report, trade, topic, ask, others=others, chance=chance + len(tasks))
        message += _passed_on(report.name, place, steered)
        tasks.append(
            {
                "to": report.name,
                "subject": writing.delegated_subject(topic, trade),
                "message": message,
                "priority": "high" if chance % 3 == 0 else "medium",
            }
        )
    return Reply(writing.delegating(names, topic, chance), (_call(situation, "delegate", tasks=tasks, wait=True),))


def choose_reports(place: Place, task: str, passed_on: Iterable[tuple[str, str]], seed: int) -> list[Colleague]:
    """The direct reports that fit a task best, two to seven; three by a stable hash if none fits.

    Who is named by a steering word is among them, whatever the task.
    """
    known = [place.colleagues.get(name, Colleague(name)) for name in place.direct_reports]
    fits = {report.name: trades.fit(report, task) for report in known}
    ranked = sorted(known, key=lambda report: (-fits[report.name], trades.pick(seed, task, report.name)))
    fitting = sum(1 for fit in fits.values() if fit)
    chosen = ranked[: min(max(fitting, 2), MOST_ASKED) if fitting else 3]
    named = {name for name, _ in passed_on}
    return chosen + [report for report in ranked if report.name in named and report not in chosen]


def _passed_on(report: str, place: Place, steered: Steering) -> str:
    """Steering words for a report, and those for roles further down, whose manager will pass them on."""
    lines = [f"rehearse: {words}" for role, words in steered.passed_on if role == report]
    further = set(place.direct_reports) | {place.me.name}
    lines += [f"rehearse@{role}: {words}" for role, words in steered.passed_on if role not in further]
    return "\n\n" + "\n".join(lines) if lines else ""


def _do_it(situation: Situation, place: Place, arrival: Arrival, steered: Steering, chance: int) -> Reply:
    """The work of a specialist, one round of tool calls after the other."""
    me, trade = place.me, trades.trade_of(place.me)
    topic = writing.topic_of(arrival, steered.text)
    ask = writing.ask_of(steered.text or arrival.subject)
    path = trades.path(trade, topic)
    text = trades.artefact(trade, topic, role=me.name, asker=writing.asker(arrival.sender), ask=ask, chance=chance >> 8)
    applied = [lesson.approach for lesson in situation.lessons]
    if applied:
        text += "\n## What I applied\n\n" + "".join(f"- {approach}\n" for approach in applied)
    rounds: list[tuple[str, list[Call]]] = [
        (f"I write {trade.deliverable}.", [_call(situation, "write_file", path=path, content=text)]),
        ("I read it once more before I hand it over.", [_call(situation, "read_file", path=path)]),
    ]
    said = f"{topic}: {trade.part} is written, in review."
    status = _call(situation, "report_status", type="progress", text=said)
    match chance % 4:
        case 0:
            rounds[1][1].append(status)
        case 1:
            rounds.insert(0, ("I look at what is there.", [_call(situation, "list_files")]))
        case 2:
            todo = f"# {topic}: to do\n\n- [x] {trade.deliverable}\n- [ ] {trade.next}\n"
            rounds[0][1].append(
                _call(situation, "write_file", path=f"notes/{trades.slug(topic)}-todo.md", content=todo)
            )
    if applied:
        told = [_call(situation, "report_learning", id=lesson.id, result="helped") for lesson in situation.lessons]
        rounds.append(("I say how it went to apply what others found.", told))
    possible = [(said, [call for call in calls if call.tool in situation.tools]) for said, calls in rounds]
    possible = [(said, calls) for said, calls in possible if calls]
    at = situation.rounds - len(steered.tools)
    if at < len(possible):
        return Reply(possible[at][0], tuple(possible[at][1]))
    read_back = next((step.result for step in reversed(situation.steps) if step.tool == "read_file"), "")
    summary = writing.finish_summary(
        trade,
        topic,
        sender=arrival.sender,
        paths=situation.paths,
        lines=len(read_back.splitlines()),
        chance=chance >> 4,
    )
    return _finish(situation, "done", summary, situation.paths)


def _merge(situation: Situation, arrived: Answers) -> Reply:
    """A manager's work on the answers: the report, then the summary."""
    if any(step.tool == "finish" and not step.is_error for step in situation.steps):
        return Reply("That is finished.")
    if situation.error:
        return _give_up(situation, situation.error)
    place = situation.place or _NOBODY
    if wrong := next((answer for answer in arrived.answers if answer.subject.startswith("Verify: ")), None):
        return _finish(situation, "done", f"Mended what {wrong.sender} found: {wrong.text}")
    if arrived.verdict:
        said = [f"- {answer.sender} ({answer.outcome}): {writing.sentence(answer.text)}" for answer in arrived.answers]
        outcome = _merged_outcome(arrived.answers) if arrived.is_decided else "blocked"
        return _finish(situation, outcome, "\n".join([f"What came of it: {arrived.verdict}.", *said]))
    text = steering.read(arrived.asked.body).text
    topic = writing.topic_of(arrived.asked._replace(subject=arrived.asked.subject or _subject_of(arrived)), text)
    sender, path = arrived.asked.sender or place.reports_to, writing.report_path(topic)
    if not situation.rounds and "write_file" in situation.tools:
        report = writing.merged_report(topic, writing.ask_of(text), sender, place.me.name, arrived.answers)
        return Reply("I put the answers together.", (_call(situation, "write_file", path=path, content=report),))
    paths = situation.paths
    summary = writing.merged_summary(topic, sender, arrived.answers, path if path in paths else "")
    evidence = paths + [item for answer in arrived.answers for item in answer.evidence]
    return _finish(situation, _merged_outcome(arrived.answers), summary, list(dict.fromkeys(evidence))[:20])


def _merged_outcome(answers: Iterable[Answer]) -> str:
    """Done if anything is: the summary names the gaps. Nothing done: blocked, or a person if one is asked for."""
    outcomes = {answer.outcome for answer in answers}
    if "done" in outcomes:
        return "done"
    return "needs_human" if "needs_human" in outcomes else "blocked"


def _subject_of(arrived: Answers) -> str:
    return next((answer.subject for answer in arrived.answers if answer.subject), "")


def _finish(situation: Situation, outcome: str, summary: str, evidence: Iterable[str] = (), **more: Any) -> Reply:
    """The end of the work: with the tool if it is offered, else in words."""
    if "finish" not in situation.tools:
        return Reply(summary if outcome == "done" else f"{writing.OUTCOME_WORDS[outcome].capitalize()}: {summary}")
    return Reply("", (_call(situation, "finish", outcome=outcome, summary=summary, evidence=list(evidence), **more),))


def _give_up(situation: Situation, step: frames.Step) -> Reply:
    """After a failed tool call: say so and end, once."""
    said = f"{step.tool} failed: {writing.clip(' '.join(step.result.split()), 300) or 'without a reason'}"
    if step.tool == "finish":
        return Reply(f"I could not finish. {said}")
    done = f" What was written before stays: {', '.join(situation.paths)}." if situation.paths else ""
    reply = _finish(situation, "failed", f"{said}.{done}\nNext: mend this and send the task again.", situation.paths)
    return reply._replace(text=reply.text or f"{step.tool} did not work; I stop here and say so.")


def _honest(arrival: Arrival, steered: Steering) -> str:
    topic = writing.topic_of(arrival, steered.text)
    return {
        "failed": f"{topic}: I tried and it does not work. What I tried last did not hold; I have no other way.",
        "blocked": f"{topic}: I cannot go on without access that I was not given. Next: give it, or change the task.",
        "needs_human": f"{topic}: a person has to decide. Question: do we accept the cost and the risk as they stand?",
    }[steered.outcome]


def _answer_question(situation: Situation, place: Place, arrival: Arrival, steered: Steering, chance: int) -> str:
    about = writing.clip(writing.sentence(steered.text).rstrip("?"), 120)
    trade = trades.trade_of(place.me)
    last = _last_result(situation)
    view = (
        f"From where I stand ({trade.part}): yes, if we do this first: {trade.next}.",
        f"As {place.me.name} I would keep it small and mind one thing: {trade.risk}.",
        f"Nothing on my side stands in the way; for {trade.part} I would {trade.asks[0]}.",
    )[chance % 3]
    return f"You asked: {about}?\n{view}" + (f"\nLast from me: {last}" if last else "")


def _stand_up(situation: Situation, place: Place) -> str:
    trade = trades.trade_of(place.me)
    return f"Done: {_last_result(situation) or 'nothing yet'}\nNext: {trade.next}.\nIn the way: nothing."


def _last_result(situation: Situation) -> str:
    """First line of the last summary in the conversation."""
    for turn in reversed(situation.turns):
        for block in reversed(turn.blocks):
            if block["type"] == "tool_use" and block["name"] == "finish":
                return writing.sentence(str(block["input"].get("summary", "")))
    return ""


def _hand_over(situation: Situation) -> str:
    """What the next conversation must know: what came and how it ended."""
    place = situation.place or _NOBODY
    came = [one for one in frames.arrivals(situation.turns) if isinstance(one, Arrival)]
    ended = [
        f"- {block['input'].get('outcome', 'done')}: {writing.sentence(str(block['input'].get('summary', '')))}"
        for turn in situation.turns
        for block in turn.blocks
        if block["type"] == "tool_use" and block["name"] == "finish"
    ]
    lines = [f"Hand-over of {place.me.name}.", "", f"Messages so far: {len(came)}. The last ones:"]
    lines += [
        f"- {one.type} of {writing.asker(one.sender)}: {writing.topic_of(one, one.body)}" for one in came[-8:]
    ] or ["- none"]
    lines += ["", "How work ended:", *(ended[-8:] or ["- nothing is finished yet"])]
    return "\n".join(lines)


def _known(situation: Situation) -> str:
    return ", ".join(f"`{tool}`" for tool in sorted(situation.tools)) or "none"
