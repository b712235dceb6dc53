"""Commands that have roles decide: a vote, an auction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK, EXIT_PARTIAL
from agenthub.cli.names import Target
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import print_json, say
from agenthub.cli.talk import File, PriorityName, Subject, Words, body_of
from agenthub.cli.waiting import shown_while_polling
from agenthub.errors import ConfigError

if TYPE_CHECKING:
    from agenthub.client.polls import Auctioned, Voted

_LEAST_OPTIONS = 2


async def vote(
    question: Words = "-",
    /,
    *,
    voters: Target = "@all",
    choices: Annotated[str, Parameter(name="--options")] = "yes,no",
    quorum: str = "1/2",
    within: str = "5m",
    priority: PriorityName = "medium",
    file: File = None,
    options: Options = DEFAULT,
) -> int:
    """Have roles vote and print what they decided: only that on stdout, who voted for what on stderr.

    Args:
        question: What is to be decided; `-` or nothing reads it from stdin, `@question.md` from that file.
        voters: Roles with commas between them, `@all`, a team such as `@cto`, `?skill=sql`.
        choices: What may be voted for, with commas between.
        quorum: Share of the voters that must vote: 2/3, 60%, 0.5.
        within: When it ends without the votes that are missing, such as 60s, 10m or 2h.
        priority: How urgent it is for them.
        file: Read the question from this file.
    """
    from pydantic import ValidationError

    from agenthub.client.polls import Progress, roles_of
    from agenthub.client.polls import vote as have_vote
    from agenthub.messages import Priority
    from agenthub.votes import Ballot

    within_s = duration(within, "--within").total_seconds()
    named = [choice.strip() for choice in choices.split(",") if choice.strip()]
    if len(named) < _LEAST_OPTIONS:
        raise ConfigError(f"--options takes at least two options, with commas between them; found {choices!r}")
    try:
        ballot = Ballot(options=named, quorum=quorum)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error
    body = body_of(question, file)
    async with options.client() as client:
        asked = roles_of(client, voters)
        if not options.json:
            say(f"asked {', '.join(asked)}; waiting {within} at the most")
        progress = Progress()
        async with shown_while_polling(client, progress):
            voted = await have_vote(
                client, body, ballot, asked, within_s=within_s, priority=Priority(priority), progress=progress
            )
    if options.json:
        print_json(voted, options)
    else:
        _print_vote(voted)
    return EXIT_OK if voted.tally.decision is not None else EXIT_PARTIAL


async def auction(
    task: Words = "-",
    /,
    *,
    bidders: Target = "@all",
    close: str = "5m",
    subject: Subject = "",
    priority: PriorityName = "medium",
    file: File = None,
    options: Options = DEFAULT,
) -> int:
    """Have roles bid for a task, give it to the best bid, and print who that is; the bids stand on stderr.

    Args:
        task: What is to be done; `-` or nothing reads it from stdin, `@brief.md` from that file.
        bidders: `?skill=sql`, roles with commas between them, a team such as `@cto`, or `@all`.
        close: How long bids are taken, such as 20s or 10m; less if all have answered.
        subject: A few words for lists. Default: the first line of the task.
        priority: How urgent it is for them.
        file: Read the task from this file.
    """
    from agenthub.client.polls import Progress, roles_of, skill_of
    from agenthub.client.polls import auction as have_bid
    from agenthub.messages import Priority

    close_s = duration(close, "--close").total_seconds()
    body = body_of(task, file)
    subject = subject or next(line.strip() for line in body.splitlines() if line.strip())[:180]
    async with options.client() as client:
        asked = roles_of(client, bidders)
        if not options.json:
            say(f"asked {', '.join(asked)} for bids; waiting {close} at the most")
        progress = Progress()
        async with shown_while_polling(client, progress):
            found = await have_bid(
                client, subject, body, asked, close_within_s=close_s, skill=skill_of(bidders),
                priority=Priority(priority), progress=progress,
            )  # fmt: skip
    if options.json:
        print_json(found, options)
    else:
        _print_auction(found)
    return EXIT_OK if found.winner is not None else EXIT_PARTIAL


def _print_vote(voted: Voted) -> None:
    found = voted.tally
    if found.decision is not None:
        print(found.decision)
    say(found.words)
    for voter in [*found.votes, *found.silent]:
        why = " ".join(voted.said.get(voter, "no answer in time").split())
        say(f"{voter}: {found.votes.get(voter, 'no vote')}; {why[:200]}")


def _print_auction(found: Auctioned) -> None:
    if found.winner is None:
        say("nobody bid; the task is nobody's")
        for bidder, why in found.said.items():
            say(f"{bidder}: {' '.join(why.split())[:200]}")
        return
    print(found.winner)
    for offer in found.offers:
        say(f"{offer.role}: {offer.words}; worth {offer.worth:.3f}")
    assert found.message_id is not None
    say(f"{found.winner} has it as {found.message_id}; see `agenthub trace {found.message_id[:8]}`")
