"""Request and reply with people and programs: ask and wait, expect an answer and go away, see who owes one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import NamedTuple

from agenthub.asks import Ask, Part
from agenthub.client.hub import Client
from agenthub.errors import AgenthubError, NotFoundError, RefusedError
from agenthub.messages import Completion, Message, Priority, now
from agenthub.org.ledger import Ledger
from agenthub.org.pending import Debt, debts, unanswered
from agenthub.org.registry import Registry


class Question(NamedTuple):
    """What a person or a program asks of a role."""

    to: str
    text: str
    subject: str = ""
    priority: Priority = Priority.MEDIUM
    sender: str | None = None
    """Name of a program; None: the operator. A role that asks others does so in its turn."""


class Replies:
    """Answers that are owed at a hub."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ledger = Ledger(client.bus)

    async def expect(self, question: Question, *, within_s: float | None = None, kind: str = "task_assignment") -> Ask:
        """Send a role something that must be answered within some time; its entry in the ledger.

        The entry is there before the message is sent, and ends when the answer is there. When it is overdue the
        role is reminded, then its managers hear of it.

        Args:
            within_s: None: the organization's `reply_within_s`.
            kind: Type of the message.

        Raises:
            NotFoundError: If there is no such role.
            RefusedError: If it is a person who is asked, or a role that asks.
        """
        organization = self._client.organization
        if question.to == organization.operator:
            raise RefusedError(f"`{question.to}` is a person: nobody works off that inbox by itself.")
        organization.role(question.to)
        if question.sender in organization.roles:
            raise RefusedError(f"`{question.sender}` is a role: it asks others in its turn, and is parked meanwhile.")
        message = self._client.message(
            kind, question.text, subject=question.subject, priority=question.priority, sender=question.sender
        )
        within_s = organization.defaults.reply_within_s if within_s is None else within_s
        part = Part(message_id=message.id, role=question.to, subject=message.title[:200], priority=question.priority)
        ask = Ask(
            id=message.id, role=message.from_role, task=_head(message), parts=[part], opened_at=message.timestamp,
            deadline=message.timestamp + timedelta(seconds=within_s), from_outside=True,
        )  # fmt: skip
        await self._ledger.open(ask)
        try:
            await self._client.put(question.to, message)
        except AgenthubError:
            await self._ledger.close(ask.role, ask.id)
            raise
        return ask

    async def answer_to(self, ask: Ask, *, timeout_s: float | None = None) -> Completion:
        """The answer that is expected, as soon as it is there; nobody waits for it any more after that.

        Raises:
            TimeoutError: If it is not there within `timeout_s`; the entry stays.
        """
        (part,) = ask.parts
        done = await self._client.completion(part.role, part.message_id, timeout_s=timeout_s)
        await self._ledger.close(ask.role, ask.id)
        return done

    async def pending(self, *, role: str | None = None) -> list[Debt]:
        """Answers that are owed, the longest due first; with `role`, those that it owes or waits for."""
        asks, beats = await asyncio.gather(self._ledger.all(), Registry(self._client.bus).all())
        owed = await unanswered(self._client.bus, self._ledger, asks)
        within_s = self._client.organization.defaults.reply_within_s
        found = debts(owed, asks, beats, reply_within_s=within_s, at=now())
        return [debt for debt in found if role in (None, debt.debtor, debt.creditor)]

    async def drop(self, prefix: str) -> Ask:
        """Forget what somebody outside expects; the role goes on, but nobody is reminded.

        Raises:
            NotFoundError: If there is no such entry, or more than one.
            RefusedError: If it is a role that waits: its task would never go on.
        """
        found = [ask for ask in await self._ledger.all() if ask.id.startswith(prefix)]
        if len(found) != 1:
            how_many = "no" if not found else f"{len(found)}"
            raise NotFoundError(f"There is {how_many} pending answer whose id begins with `{prefix}`.")
        (ask,) = found
        if not ask.from_outside:
            raise RefusedError(
                f"`{ask.role}` itself waits for this answer, until {ask.deadline:%Y-%m-%d %H:%M} UTC; then it goes on."
            )
        await self._ledger.close(ask.role, ask.id)
        return ask


def _head(message: Message) -> Message:
    """The message without its text, which the inbox holds: an entry of the ledger is read often."""
    return message.model_copy(update={"payload": message.payload.model_copy(update={"message": ""})})
