"""What roles wait for a person to decide: look, and decide."""

from __future__ import annotations

import getpass

from agenthub import subjects
from agenthub.approvals import DECISION
from agenthub.asks import Ask
from agenthub.client.grants import Granting
from agenthub.client.hub import Client
from agenthub.client.inboxes import waiting_message
from agenthub.errors import NotFoundError, RefusedError
from agenthub.messages import Message, Outcome, Payload, derived_id, now
from agenthub.org.ledger import Ledger

_LOOKED_THROUGH = 1000
"""So many messages of one role in the operator's inbox are looked through for the one that is decided."""


class Approvals:
    """The decisions that roles of a hub wait for."""

    def __init__(self, client: Client) -> None:
        self._client, self._granting = client, Granting(client)
        self._ledger = Ledger(client.bus)

    async def waiting(self, *, role: str | None = None) -> list[Ask]:
        """What nobody has decided yet, the oldest first.

        Raises:
            NotFoundError: If there is no such role.
        """
        if role is not None:
            self._client.organization.role(role)
        found = [ask for ask in await self._ledger.all() if ask.approval and not ask.is_answered]
        wanted = [ask for ask in found if role in (None, ask.role) and not ask.parts[0].decided]
        return sorted(wanted, key=lambda ask: ask.opened_at)

    async def approve(self, prefix: str, *, always: bool = False) -> Ask:
        """Let a tool call be made, with `always` also all that are like it; or give what a role asked for."""
        ask = await self.find(prefix)
        assert ask.approval is not None
        if ask.approval.kind == "question":
            raise RefusedError(f'That is a question. Answer it: `agenthub reply {ask.id[:8]} "…"`.')
        if ask.approval.wanted is None:
            return await self._decide(ask, Outcome.DONE, "", always=always)
        if always:
            raise RefusedError("A grant has an end. What shall always hold belongs into the role's file.")
        grant = await self._granting.give(ask.role, ask.approval.wanted, by=getpass.getuser(), identity=ask.id)
        until = f"{grant.until:%Y-%m-%d %H:%M} UTC"
        return await self._decide(ask, Outcome.DONE, f"You may {grant.title} until {until}.")

    async def reject(self, prefix: str, reason: str = "") -> Ask:
        """Do not let a tool call be made, or leave a question without an answer; the role reads why."""
        return await self._decide(await self.find(prefix), Outcome.REFUSED, reason)

    async def reply(self, prefix: str, text: str) -> Ask:
        """Answer a question: freely, or by a choice or its number, if there are choices."""
        ask = await self.find(prefix)
        assert ask.approval is not None
        if ask.approval.kind != "question":
            yes, no = (f"agenthub {word} {ask.id[:8]}" for word in ("approve", "reject"))
            raise RefusedError(f'That takes a yes or a no: `{yes}`, or `{no} --reason "…"`.')
        return await self._decide(ask, Outcome.DONE, _chosen(text, ask.approval.choices))

    async def find(self, prefix: str) -> Ask:
        """The decision whose id begins like that.

        Raises:
            NotFoundError: If there is none, or several.
            RefusedError: If it is decided already.
        """
        found = [ask for ask in await self._ledger.all() if ask.approval and ask.id.startswith(prefix)]
        if len(found) != 1:
            many = f"{len(found)} decisions" if found else "no decision"
            gone = "" if found else " It is withdrawn when its task ends."
            raise NotFoundError(f"There is {many} whose id begins with `{prefix}`.{gone} See `agenthub approvals`.")
        (ask,) = found
        if ask.is_answered or ask.parts[0].decided:
            raise RefusedError(f"{ask.id[:8]} is decided already; `{ask.role}` goes on with it.")
        return ask

    async def _decide(self, ask: Ask, outcome: Outcome, text: str, *, always: bool = False) -> Ask:
        """Send the role the decision. Its id derives from what is decided: of two the first one counts."""
        part, operator = ask.parts[0], self._client.organization.operator
        word = "Rejected" if outcome is Outcome.REFUSED else "Approved"
        payload = Payload.model_validate(
            {"subject": f"{word}: {part.subject}"[:200], "message": text, "priority": part.priority,
             "outcome": outcome, "always": always}
        )  # fmt: skip
        message = Message(
            id=derived_id(ask.id, "decision"), type=DECISION, from_operator=f"operator-{operator}", from_role=operator,
            timestamp=now(), trace_id=ask.task.trace_id, causation_id=part.message_id, correlation_id=ask.id,
            hop=ask.task.hop + 1, origin=ask.task.origin, org=self._client.organization.org, payload=payload,
        )  # fmt: skip
        lane = subjects.lane(ask.role, part.priority, operator)
        stored = await self._client.bus.publish(lane, message.encode(), message_id=message.id)
        if not stored.is_new:
            raise RefusedError(f"{ask.id[:8]} is decided already; `{ask.role}` goes on with it.")
        decided = str(outcome)
        await self._ledger.note(ask, part.message_id, lambda part: part.model_copy(update={"decided": decided}))
        await self._tidy(ask)
        return ask

    async def _tidy(self, ask: Ask) -> None:
        """Take what is decided out of the operator's inbox."""
        bus, part = self._client.bus, ask.parts[0]
        lane = subjects.lane(part.role, part.priority, ask.role)
        for received in await bus.look(subjects.AGENTS, lane, most=_LOOKED_THROUGH):
            message = waiting_message(received).message
            if message is not None and message.id == part.message_id:
                await bus.delete(subjects.AGENTS, received.sequence)


def _chosen(text: str, choices: list[str]) -> str:
    if not choices:
        return text
    by_number = {str(number): choice for number, choice in enumerate(choices, 1)}
    by_words = {choice.strip().casefold(): choice for choice in choices}
    answer = by_words.get(text.strip().casefold()) or by_number.get(text.strip())
    if answer is None:
        listed = ", ".join(f"{number}: {choice}" for number, choice in by_number.items())
        raise RefusedError(f"The answer is one of these, or its number: {listed}. To say something else, reject it.")
    return answer
