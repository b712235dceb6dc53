"""Commands about what the organization learned: look, publish, decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.names import AnyRole, role_names
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import ago, console, escaped, print_json, say, table
from agenthub.errors import ConfigError, problems

if TYPE_CHECKING:
    from agenthub.client.learnings import Shared
    from agenthub.org.trust_states import Opinion

_Roles = Annotated[tuple[str, ...], Parameter(name="--role", negative="", completer=role_names)]
_STYLE = {"quarantined": "[bold red]", "promoted": "[green]", "archived": "[dim]", "hint": "["}


async def learnings_ls(
    *, standing: str | None = None, role: AnyRole = None, domain: str | None = None, options: Options = DEFAULT
) -> int:
    """List what was learned, what waits for a person first.

    Args:
        standing: Only those that are hint, promoted, archived or quarantined.
        role: Only those that this role published.
        domain: Only those about this.
    """
    from agenthub.client.learnings import Learnings

    if standing is not None and standing not in _STYLE:
        raise ConfigError(f"--standing is one of {', '.join(_STYLE)}; found {standing!r}")
    async with options.client() as client:
        found = await Learnings(client).all()
    wanted = [
        one
        for one in found
        if standing in (None, one.state) and (role is None or role in one.authors)
        and (domain is None or domain.lower() in one.learning.domain)
    ]  # fmt: skip
    wanted.sort(key=lambda one: one.state != "quarantined")
    if options.json:
        print_json([_as_data(one) for one in wanted], options)
        return EXIT_OK
    rows = [
        [
            one.id, escaped(one.authors[0]), ago(one.shared_at), one.state.value, f"{one.trust:.0%}",
            str(one.confirmations), str(one.contradictions), str(len(one.promoted_by)),
            escaped(one.learning.trigger),
        ]
        for one in wanted
    ]  # fmt: skip
    numbers = ["AGE", "TRUST", "HELD", "FAILED", "POLICY OF"]
    columns = ["ID", "FROM", "AGE", "STATE", "TRUST", "HELD", "FAILED", "POLICY OF", "WHEN"]
    table(columns, rows, right=numbers, free=["WHEN"])
    if not wanted:
        say("nothing was learned yet" if not found else "nothing that fits")
    return EXIT_OK


async def learnings_show(identity: str, /, *, options: Options = DEFAULT) -> int:
    """Show one learning: its words, where it comes from, and what each role thinks of it.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
    """
    from agenthub.client.learnings import Learnings

    async with options.client() as client:
        found = await Learnings(client).find(identity)
    if options.json:
        print_json(_as_data(found), options)
        return EXIT_OK
    learning = found.learning
    fields = {
        "id": found.id, "state": found.state.value, "when": learning.trigger, "do": learning.approach,
        "outcome": learning.outcome, "domain": ", ".join(learning.domain), "from": ", ".join(found.authors),
        "confidence": f"{learning.confidence:.0%}", "evidence": ", ".join(learning.evidence), "ask": learning.ask,
        "suspicion": found.suspicion,
    }  # fmt: skip
    for name, value in fields.items():
        if value:
            console().print(f"[dim]{name:>10}[/]  {escaped(value)}")
    rows = [
        [
            escaped(role), opinion.state.value, f"{opinion.trust:.0%}", str(opinion.confirmations),
            str(opinion.contradictions), escaped(opinion.reason),
        ]
        for role, opinion in found.roles.items()
    ]  # fmt: skip
    numbers = ["TRUST", "HELD", "FAILED"]
    table(["ROLE", "STATE", *numbers, "REASON"], rows, right=numbers, free=["REASON"])
    return EXIT_OK


async def learnings_share(
    *, trigger: str, domain: str, approach: str, outcome: str, evidence: str, confidence: float = 0.9, ask: str = "",
    options: Options = DEFAULT,
) -> int:  # fmt: skip
    """Publish a learning in your name; each role tries it before it trusts it.

    Args:
        trigger: When it holds.
        domain: What it is about, words with commas between them.
        approach: What to do then.
        outcome: What came of it.
        evidence: Ids of the messages whose work showed it, with commas between them.
        confidence: From 0.8 to 1.
        ask: Calls before which whoever trusts it asks a person, such as `Bash(git push:*)`.
    """
    from pydantic import ValidationError

    from agenthub.client.learnings import Learnings
    from agenthub.learnings import Learning

    values = {
        "trigger": trigger, "domain": domain, "approach": approach, "outcome": outcome, "evidence": evidence,
        "confidence": confidence, "ask": ask,
    }  # fmt: skip
    try:
        learning = Learning.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"Not published: {problems(error)}.") from error
    async with options.client() as client:
        identity = await Learnings(client).share(learning)
    if options.json:
        print_json({"id": identity}, options)
        return EXIT_OK
    say(f"published as {identity}")
    return EXIT_OK


async def learnings_confirm(
    identity: str, /, *, role: _Roles = (), reason: str = "", evidence: str = "", options: Options = DEFAULT
) -> int:
    """Say that a learning held: one confirmation more.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
        role: With this role; may be given more than once. Default: with all.
        reason: What you saw.
        evidence: Ids of messages that show it, with commas between them.
    """
    return await _decide("confirm", identity, role, options, reason=reason, evidence=_ids(evidence))


async def learnings_refute(
    identity: str, /, *, role: _Roles = (), reason: str = "", evidence: str = "", options: Options = DEFAULT
) -> int:
    """Say that a learning did not hold: one contradiction more, which weighs double.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
        role: With this role; may be given more than once. Default: with all.
        reason: What you saw.
        evidence: Ids of messages that show it, with commas between them.
    """
    return await _decide("refute", identity, role, options, reason=reason, evidence=_ids(evidence))


async def learnings_promote(
    identity: str, /, *, role: _Roles = (), reason: str = "", deny: str = "", options: Options = DEFAULT
) -> int:
    """Put a learning into the policy, whatever roles found.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
        role: Of this role; may be given more than once. Default: of all.
        reason: Why.
        deny: Calls that the policy forbids from then on, such as `Bash(git push --force:*)`.
    """
    return await _decide("promote", identity, role, options, reason=reason, deny=deny)


async def learnings_demote(
    identity: str, /, *, role: _Roles = (), reason: str = "", options: Options = DEFAULT
) -> int:  # fmt: skip
    """Take a learning out of the policy; it stays a hint.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
        role: Of this role; may be given more than once. Default: of all.
        reason: Why.
    """
    return await _decide("demote", identity, role, options, reason=reason)


async def learnings_quarantine(
    identity: str, /, *, role: _Roles = (), reason: str = "", options: Options = DEFAULT
) -> int:  # fmt: skip
    """Keep a learning from the models.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
        role: Of this role; may be given more than once. Default: of all.
        reason: Why.
    """
    return await _decide("quarantine", identity, role, options, reason=reason)


async def learnings_release(
    identity: str, /, *, role: _Roles = (), reason: str = "", options: Options = DEFAULT
) -> int:  # fmt: skip
    """Let a learning earn its trust like any other: out of quarantine, and without your word above what roles find.

    Args:
        identity: As `agenthub learnings ls` lists it; its first digits are enough.
        role: For this role; may be given more than once. Default: for all.
        reason: Why.
    """
    return await _decide("release", identity, role, options, reason=reason)


async def learnings_roles(*, options: Options = DEFAULT) -> int:
    """Show how far each role is trusted with its kinds of work, by how they ended."""
    from agenthub.client.learnings import Learnings

    async with options.client() as client:
        found = await Learnings(client).scores()
        names = list(client.organization.roles)
    listed = [(role, skill, score) for role in names for skill, score in sorted(found.get(role, {}).items())]
    if options.json:
        rows = [
            {"role": role, "skill": skill, "score": round(score.value, 4), **score._asdict()}
            for role, skill, score in listed
        ]
        print_json(rows, options)
        return EXIT_OK
    table(
        ["ROLE", "SKILL", "SCORE", "DONE", "VERIFIED", "FAILED", "REJECTED", "ASKED AGAIN"],
        [
            [
                escaped(role), escaped(skill or "(all)"), f"{score.value:.0%}", str(score.done), str(score.verified),
                str(score.failed), str(score.rejected), str(score.reworked),
            ]
            for role, skill, score in listed
        ],
        right=["SCORE", "DONE", "VERIFIED", "FAILED", "REJECTED", "ASKED AGAIN"],
    )  # fmt: skip
    return EXIT_OK


async def _decide(verdict: str, identity: str, roles: tuple[str, ...], options: Options, **more: Any) -> int:
    from pydantic import ValidationError

    from agenthub.client.learnings import Learnings

    async with options.client() as client:
        decide = getattr(Learnings(client), verdict)
        try:
            found: Shared = await decide(identity, roles=roles, **more)
        except ValidationError as error:
            raise ConfigError(f"Nothing was decided: {problems(error)}.") from error
    if options.json:
        print_json({"id": found.id, "verdict": verdict, "roles": list(roles)}, options)
        return EXIT_OK
    say(f"{verdict} {found.id}: {', '.join(roles) or 'all roles'} will hear of it")
    return EXIT_OK


def _ids(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _as_data(found: Shared) -> dict[str, Any]:
    def opinion(one: Opinion) -> dict[str, Any]:
        return one.model_dump(mode="json", exclude={"learning"})

    return {
        "id": found.id, "state": found.state.value, "trust": round(found.trust, 4),
        "confirmations": found.confirmations, "contradictions": found.contradictions, "authors": list(found.authors),
        "shared_at": found.shared_at, "suspicion": found.suspicion, **found.learning.model_dump(mode="json"),
        "promoted_by": found.promoted_by, "roles": {role: opinion(one) for role, one in found.roles.items()},
    }  # fmt: skip
