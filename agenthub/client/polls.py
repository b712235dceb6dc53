"""Have roles vote, or bid for a task, and wait for what comes of it. Plain code decides, as for a vote of a role."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import BaseModel

from agenthub import subjects
from agenthub.asks import Request, Tender
from agenthub.auctions import Award, Bid, Offer, award
from agenthub.bus.connection import StreamFullError
from agenthub.client.hub import Client
from agenthub.client.targets import recipients
from agenthub.errors import HubError, HubUnreachableError, NotFoundError, RefusedError
from agenthub.messages import Completion, Message, Outcome, Priority, derived_id, now
from agenthub.org.track_record import TrackRecord
from agenthub.polls import bid_request, lost, trust_in, vote_request
from agenthub.votes import Ballot, Tally, tally

MOST_ASKED = 200
_SKILL = "?skill="


class Voted(BaseModel):
    """What a vote came to."""

    id: str
    question: str
    tally: Tally
    said: dict[str, str]
    """Why, by who answered; of who did not, why, if that is known."""


class Auctioned(BaseModel):
    """What an auction came to."""

    id: str
    subject: str
    winner: str | None
    offers: list[Offer]
    """The best first."""
    said: dict[str, str]
    """What bidders said about it, also those that did not bid."""
    message_id: str | None
    """The directive that the winner got."""


@dataclass
class Progress:
    """How far a poll is while it waits: for whoever shows it."""

    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    """In the order of their answers."""
    left_out: list[str] = field(default_factory=list)
    """Who could not be asked, or whose answer is a forgery: nothing of them is waited for."""
    deadline: datetime = field(default_factory=now)
    """When it ends without the answers that are missing."""

    @property
    def missing(self) -> list[str]:
        """Whose answers may still come."""
        return [role for role in self.asked if role not in self.answered and role not in self.left_out]


class _Asked(NamedTuple):
    ended: dict[str, Completion]
    no_answer: dict[str, str]
    """Why there is none, by who could not be asked, or whose answer is a forgery."""


def roles_of(client: Client, targets: str) -> list[str]:
    """The roles that targets with commas between them stand for, each once: `backend,qa`, `@cto`, `?skill=sql`.

    Raises:
        NotFoundError: If one stands for nobody.
        RefusedError: If a person is among them, or they are too many.
    """
    named = [target.strip() for target in targets.split(",") if target.strip()]
    found = list(dict.fromkeys(role for target in named for role in recipients(client.organization, target)))
    if not found:
        raise NotFoundError("Nobody is asked: name roles, a team such as `@cto`, or `?skill=sql`.")
    if client.organization.operator in found:
        raise RefusedError(f"`{client.organization.operator}` is a person: nobody works off that inbox by itself.")
    if len(found) > MOST_ASKED:
        raise RefusedError(f"{len(found)} roles are too many to ask at once; {MOST_ASKED} may be.")
    return found


async def vote(
    client: Client, question: str, ballot: Ballot, voters: Sequence[str], *, within_s: float,
    priority: Priority = Priority.MEDIUM, progress: Progress | None = None,
) -> Voted:  # fmt: skip
    """Have roles vote; what came of it when all have, or the time is over.

    A decision is said on the topic `decisions.vote`, and so becomes part of what the organization knows.

    Args:
        progress: Kept up to date while it waits.
    """
    voters = list(dict.fromkeys(voters))
    requests = [vote_request(voter, question, ballot, priority) for voter in voters]
    root = client.message(requests[0].type, question, subject=requests[0].subject, priority=priority)
    asked = await _ask(client, root, requests, within_s=within_s, progress=progress)
    votes = {voter: end.vote for voter, end in asked.ended.items() if end.outcome is Outcome.DONE}
    found = tally(ballot, voters, votes.items())
    if found.decision is not None:
        await _decide(client, root, question, found)
    said = {voter: end.text for voter, end in asked.ended.items()}
    return Voted(id=root.id, question=question, tally=found, said=asked.no_answer | said)


async def auction(
    client: Client, subject: str, text: str, bidders: Sequence[str], *, close_within_s: float, skill: str = "",
    priority: Priority = Priority.MEDIUM, progress: Progress | None = None,
) -> Auctioned:  # fmt: skip
    """Have roles bid for a task; when all have answered, or the time is over, the best gets it as a directive.

    Args:
        skill: For which bidders are trusted as far as their work with it ended well. Empty: all their work.
        progress: Kept up to date while it waits.
    """
    bidders = list(dict.fromkeys(bidders))
    tender = Tender(subject=subject, text=text, priority=priority, skill=skill, within_s=close_within_s)
    requests = [bid_request(bidder, tender) for bidder in bidders]
    root = client.message(requests[0].type, text, subject=requests[0].subject, priority=priority)
    asked = await _ask(client, root, requests, within_s=close_within_s, progress=progress)
    bids: list[tuple[str, Bid]] = [
        (bidder, end.bid) for bidder, end in asked.ended.items() if end.outcome is Outcome.DONE and end.bid
    ]
    found = await _awarded(client, bids, skill)
    message_id = await _hand_out(client, root, tender, found) if found.winner else None
    said = {bidder: end.text for bidder, end in asked.ended.items()}
    return Auctioned(
        id=root.id, subject=subject, winner=found.winner, offers=found.offers, said=asked.no_answer | said,
        message_id=message_id,
    )  # fmt: skip


def skill_of(targets: str) -> str:
    """The skill by which bidders are looked for; empty if they are named in another way, or by several."""
    skills = {target.strip().removeprefix(_SKILL) for target in targets.split(",") if target.strip()}
    return next(iter(skills)) if len(skills) == 1 and targets.strip().startswith(_SKILL) else ""


async def _ask(
    client: Client, root: Message, requests: Sequence[Request], *, within_s: float, progress: Progress | None
) -> _Asked:  # fmt: skip
    """Ask each, and wait for the ends that come in time. Who cannot be asked is silent; the others are asked."""
    deadline = root.timestamp + timedelta(seconds=within_s)
    no_answer: dict[str, str] = {}
    progress = progress or Progress()
    progress.asked, progress.deadline = [request.to for request in requests], deadline

    async def ask(request: Request) -> Completion | None:
        payload = root.payload.model_copy(update={"ballot": request.ballot})
        update = {"id": derived_id(root.id, request.to), "payload": payload, "deadline": deadline}
        message = root.model_copy(update=update)
        try:
            await client.put(request.to, message)
        except StreamFullError as error:
            no_answer[request.to] = f"Not asked: {error}"
            progress.left_out.append(request.to)
            return None
        left_s = max(0.0, (deadline - now()).total_seconds())
        try:
            end = await client.completion(request.to, message.id, timeout_s=left_s)
        except TimeoutError:
            return None
        except HubUnreachableError:
            raise
        except HubError as error:  # what ended it is not genuine: whoever did that, it is no vote of theirs
            no_answer[request.to] = str(error)
            progress.left_out.append(request.to)
            return None
        progress.answered.append(request.to)
        return end

    ends = await asyncio.gather(*(ask(request) for request in requests))
    ended = {request.to: end for request, end in zip(requests, ends, strict=True) if end is not None}
    return _Asked({role: end for role, end in ended.items() if end.role == role}, no_answer)


async def _decide(client: Client, root: Message, question: str, found: Tally) -> None:
    text = f"{found.words}\n\n" + "\n".join(f"- {voter}: {option}" for voter, option in found.votes.items())
    said = client.message("announcement", text, subject=f"{question} {found.decision}"[:200], priority=Priority.LOW)
    more = {"decided_by": f"vote of {', '.join(found.votes)}"}
    payload = said.payload.model_copy(update=more)
    update = {"id": derived_id(root.id, "decision"), "payload": payload, "trace_id": root.trace_id}
    said = said.model_copy(update={**update, "causation_id": root.id})
    await client.bus.publish(subjects.decision_topic("vote"), said.encode(), message_id=said.id)


async def _awarded(client: Client, bids: Sequence[tuple[str, Bid]], skill: str) -> Award:
    skills = {name: role.settings.skills for name, role in client.organization.roles.items()}
    scores = await TrackRecord(client.bus, skills).scores()
    return award(bids, trust_in([bidder for bidder, _ in bids], skill, scores))


async def _hand_out(client: Client, root: Message, tender: Tender, found: Award) -> str:
    """Tell who lost, then give the winner the task; its id."""
    assert found.winner is not None
    about = {"trace_id": root.trace_id, "causation_id": root.id}
    for offer in found.offers[1:]:
        notice = lost(offer.role, tender.subject)
        said = client.message("announcement", notice.text, subject=notice.subject, priority=notice.priority)
        with contextlib.suppress(HubError):  # nothing depends on it
            await client.put(offer.role, said.model_copy(update=about))
    task = client.message("task_assignment", tender.text, subject=tender.subject, priority=tender.priority)
    task = task.model_copy(update={**about, "id": derived_id(root.id, "award")})
    await client.put(found.winner, task)
    return task.id
