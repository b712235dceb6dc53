"""A day of one role: 200 messages of the same kind of work, minutes apart, in one conversation.

What is measured is money, not time: the share of the input that the provider's cache already held, and what
one of the last messages costs by one of the first. The model is the rehearsal model, whose cache keeps and forgets
as the real one does, by a clock of its own; the prices are those of Claude Sonnet 5.5. That the prefix really
stayed the same is said by the endpoint's own diagnosis of each request.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from agenthub.coordination import Coordination
from agenthub.messages import Message, Payload, Usage
from agenthub.organization import load_organization
from agenthub.rehearsal import start_rehearsal
from agenthub.sessions import prompts
from agenthub.sessions.anthropic import AnthropicModel
from agenthub.sessions.compaction import CompactAt
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import Prompt, ToolCall, TurnResult
from agenthub.settings import Settings
from agenthub.tools.attachments import Attach
from agenthub.tools.mesh import mesh_tools
from agenthub.tools.workplace import OneFolder
from agenthub.tools.workspace import workspace_tools
from bench.hub import empty_folder
from bench.table import Result

MESSAGES = 200
_DAY_S = 24 * 3600.0
_ROLE = "backend"
_FIRST, _LAST = slice(5, 15), slice(-10, None)
"""The messages around the tenth, and the last ones: a single one may be the one after an hour of silence."""
_SHIPPED = Path(__file__).parent.parent / "config" / "agenthub.toml"
_TEXT = (
    "The attachment API of customer {n} needs the limits of its plan: uploads up to {n} MB, downloads that can be "
    "resumed, and a scan for viruses before anything is stored. What is there already is described in docs/api.md; "
    "keep to it where you can, and say where you could not. Mind that the old clients send no length. "
)


class Day(NamedTuple):
    """What a day took: each message's usage, and what the endpoint said of its cache."""

    messages: Sequence[Usage]
    hand_overs: int
    asked: int
    """Requests for which the endpoint compared the prefix with that of the one before."""
    misses: Sequence[str]

    @property
    def cached_share(self) -> float:
        """Input tokens that came from the cache, by all of them."""
        total = sum(self.messages, Usage())
        return total.cache_read_tokens / (total.tokens - total.output_tokens)

    @property
    def growth(self) -> float:
        """Cost of a late message by that of an early one."""
        return _mean_usd(self.messages[_LAST]) / _mean_usd(self.messages[_FIRST])

    @property
    def worst(self) -> float:
        """The same for the dearest ten in a row; hand-overs and hours of silence are among them."""
        tens = [self.messages[at : at + 10] for at in range(len(self.messages) - 9)]
        return max(map(_mean_usd, tens)) / _mean_usd(self.messages[_FIRST])


def _mean_usd(messages: Sequence[Usage]) -> float:
    return statistics.mean(usage.cost_usd for usage in messages)


async def measure(rounds: int = 3) -> list[Result]:
    """The cached share, the growth of the cost, and what a day costs."""
    days = [await day(seed) for seed in range(rounds)]
    shares, growths = [day.cached_share for day in days], [day.growth for day in days]
    costs = [sum(usage.cost_usd for usage in day.messages) for day in days]
    return [
        Result("day of 200 messages, input from the cache", "of all", shares, (), 0.9, True),
        Result("day: cost of the last by the tenth", "times", growths, (), 1.5, False),
        Result("day: the dearest ten by the tenth", "times", [day.worst for day in days], (), None, False),
        Result("day: prefixes that changed", "of all", [_changed(day) for day in days], (), 0.0, False),
        Result("day: cost of all", "USD", costs, (), None, False),
        Result("day: hand-overs", "", [day.hand_overs for day in days], (), None, False),
    ]


def _changed(day: Day) -> float:
    return len(day.misses) / day.asked


async def _as_it_says(end: TurnResult, call: ToolCall) -> TurnResult:
    """No task here names a check or a verifier."""
    return end


async def day(seed: int, *, number: int = MESSAGES, compact_at_tokens: int | None = None) -> Day:
    """A day with messages at random moments."""
    chance = random.Random(seed)
    moment_s = 0.0
    with empty_folder() as folder:
        settings = Settings.load(config=_SHIPPED, state=folder)
        organization = load_organization(settings)
        terms = organization.terms(_ROLE)
        async with start_rehearsal(speed=0, clock=lambda: moment_s) as endpoint:
            model = AnthropicModel(
                terms.model, api_key="bench", base_url=endpoint.url, prices=organization.prices, diagnoses=True
            )
            journal = Journal(folder / "journal.db")
            tools = [
                # it works alone and asks nobody
                *mesh_tools(cast(Coordination, None), attach=cast(Attach, None), ask_within_s=1, judge=_as_it_says),
                *workspace_tools(OneFolder(folder / "workspace")),
            ]
            conversation = Conversation(
                model, journal, system=prompts.standing_instructions(organization, organization.role(_ROLE)),
                tools=tools, max_steps=terms.max_turn_steps, before_effect=_at_once,
                compact_at=CompactAt(compact_at_tokens or terms.compact_at_tokens, terms.compact_at_share),
            )  # fmt: skip
            await conversation.start()
            used: list[Usage] = []
            for n in range(number):
                moment_s += chance.expovariate(number / _DAY_S)
                await _message(conversation, journal, n)
                used.append(journal.usage_of(f"m{n}"))
            hand_overs = len({entry["prompt"] for entry in endpoint.model.journal if _is_hand_over(entry)})
            assert model.diagnosis is not None
            found = Day(used, hand_overs, model.diagnosis.asked, tuple(model.diagnosis.misses))
            await conversation.close()
            journal.close()
    return found


async def _message(conversation: Conversation, journal: Journal, n: int) -> None:
    text = f"{_TEXT.format(n=n) * 3}\n\nrehearse: steps 3"
    message = Message(
        from_role="cto", type="task_assignment", id=f"m{n}", payload=Payload(subject=f"Limits {n}", message=text)
    )
    journal.open_turn(message.id, message_id=message.id, ack_subject="")
    async for _ in conversation.turn(Prompt(prompts.framed(message), message), turn_id=message.id):
        pass
    journal.finish(message.id, {"completion": {}})


def _is_hand_over(entry: dict[str, Any]) -> bool:
    return str(entry["last_user_text"]).startswith("<hub:hand-over-request")


async def _at_once() -> None:
    """Nothing may stop it."""
