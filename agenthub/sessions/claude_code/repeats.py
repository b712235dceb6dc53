"""What a turn that was cut off left open, and what becomes of a call that is made again afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agenthub.messages import Message
from agenthub.sessions.claude_code.store import Store
from agenthub.sessions.journal import Block, Journal
from agenthub.sessions.session import TurnEnd, TurnResult
from agenthub.sessions.tool_calls import ToolCalls, calls_in, outcome_from

_MAX_TOLD = 2000
BEGUN_BEFORE = (
    "You began with the next message before and did not come to its end. What you did is above; go on from there. "
    "Where it says that the user interrupted you, or did not want a call, the host had to end the turn: nobody "
    "refused anything, and nothing needs to be waited for."
)
"""Claude Code tells the model to stop and wait when a turn is interrupted. The rehearsal knows the first words."""


class OpenCall(NamedTuple):
    """A call of an earlier try whose result Claude Code's model never saw."""

    number: int
    """Under which it was made first."""
    name: str
    input: dict[str, Any]

    def is_same(self, name: str, value: Mapping[str, Any]) -> bool:
        return self.name == name and _json(self.input) == _json(value)


def open_calls(turn_id: str, *, journal: Journal, store: Store, known: Mapping[str, bool]) -> list[OpenCall]:
    """The calls of a turn that are not answered in Claude Code's record, oldest first.

    Args:
        known: The results in that record, by id of the call; True for an error. An error there may only say
            that the call was cut off, so a call that ended well here counts as open.
    """
    found: dict[int, OpenCall] = {}
    number = 0
    for answer in journal.answers(turn_id):
        for call in calls_in(answer.blocks):
            first = store.first_of(turn_id, number)
            step = journal.step(turn_id, first)
            ended_well = step is not None and step.result is not None and not step.result["is_error"]
            is_begun = step is not None and step.result is None
            is_error = known.get(str(call["id"]))
            if is_error is None or (is_error and (ended_well or is_begun)):
                found[first] = OpenCall(first, str(call["name"]), dict(call["input"]))
            else:
                found.pop(first, None)  # it was made again, and then answered
            number += 1
    return list(found.values())


def told(turn_id: str, calls: list[OpenCall], journal: Journal) -> list[str]:
    """Sentences for the model about calls that are open, one each."""
    sentences = []
    for call in calls:
        step = journal.step(turn_id, call.number)
        what = f"`{call.name}` {_json(call.input)[:_MAX_TOLD]}"
        if step is None:
            sentences.append(f"You had asked for {what}: no result is recorded; ask for it again if you need it.")
        elif step.result is None:
            sentences.append(
                f"You had asked for {what}: it is unknown whether it took effect. Look before you repeat it."
            )
        else:
            result = str(step.result["content"])[:_MAX_TOLD]
            sentences.append(f"You had asked for {what}: it was made, do not repeat it. Its result: {result}")
    return sentences


async def make_up(turn_id: str, calls: Iterable[OpenCall], tool_calls: ToolCalls, task: Message) -> None:
    """Make the open calls that may be repeated, under their old keys: the model might ask for them in other words,
    and that would be another effect."""
    for call in calls:
        block: Block = {"type": "tool_use", "id": "", "name": call.name, "input": call.input}
        await tool_calls.made_up(block, turn_id, call.number, task)


def recorded_end(turn_id: str, journal: Journal) -> TurnResult | None:
    """How a turn ended by what is recorded, though nobody was told: by a call, or by words without one."""
    answers = journal.answers(turn_id)
    if not answers:
        return None
    calls = calls_in(answers[-1].blocks)
    if not calls and answers[-1].stop_reason in ("end_turn", "stop_sequence"):
        texts = [str(block["text"]) for block in answers[-1].blocks if block["type"] == "text"]
        return TurnResult(TurnEnd.STOPPED, text="\n".join(texts).strip())
    number = sum(len(calls_in(answer.blocks)) for answer in answers[:-1])
    for at in range(len(calls)):
        step = journal.step(turn_id, number + at)
        ends = outcome_from(step.result).ends_turn if step is not None and step.result is not None else None
        if ends is not None and ends.end is not TurnEnd.INTERRUPTED:
            return ends
    return None


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
