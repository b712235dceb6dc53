"""Whom a person means: a role, everybody, a team, those who can do something, a topic. One syntax for all doors."""

from __future__ import annotations

from agenthub import subjects
from agenthub.client.names import check_topic
from agenthub.errors import NotFoundError, unknown
from agenthub.organization import Organization

TOPIC = "topic:"
_SKILL = "?skill="
ALL = "@all"


def is_many(target: str) -> bool:
    """True if the target may be several roles: `@all`, `@cto`, `?skill=sql`, `qa,growth`."""
    return target.startswith(("@", "?")) or "," in target


def recipients(organization: Organization, target: str) -> list[str]:
    """The inboxes that a target stands for, in the order of the organization.

    Args:
        target: A role or the operator; `@all`: every role; `@cto`: all who work for the cto, at any level;
            `?skill=sql`: who has that skill; several of these with commas between them: each of whom once.

    Raises:
        NotFoundError: If there is nobody of that name, or nobody with that skill.
    """
    if "," in target:
        named = [one.strip() for one in target.split(",") if one.strip()]
        if not named:
            raise NotFoundError(f"`{target}` stands for nobody.")
        return list(dict.fromkeys(role for one in named for role in recipients(organization, one)))
    if target == ALL:
        return list(organization.roles)
    if target.startswith("@"):
        return _team(organization, target.removeprefix("@"))
    if target.startswith("?"):
        if not target.startswith(_SKILL):
            raise NotFoundError(f"`{target}` stands for nobody. Roles are looked for by skill: `{_SKILL}sql`.")
        return _skilled(organization, target.removeprefix(_SKILL))
    if target != organization.operator:
        organization.role(target)
    return [target]


def _team(organization: Organization, manager: str) -> list[str]:
    if manager != organization.operator and manager not in organization.roles:
        managers = [name for name in organization.roles if organization.is_manager(name)]
        sentence = unknown("team", f"@{manager}", [ALL, *(f"@{name}" for name in managers)])
        raise NotFoundError(sentence)
    team = [name for name in organization.roles if manager in organization.managers_chain(name)]
    if not team:
        raise NotFoundError(f"Nobody reports to `{manager}`, so `@{manager}` stands for nobody.")
    return team


def _skilled(organization: Organization, skill: str) -> list[str]:
    found = [role.name for role in organization.roles.values() if skill in role.settings.skills]
    if not found:
        skills = {skill for role in organization.roles.values() for skill in role.settings.skills}
        raise NotFoundError(unknown("role with the skill", skill, skills))
    return found


def concrete_topic(name: str) -> str:
    """Full subject of a topic that can be published on.

    Raises:
        NotFoundError: If it is none, or stands for several (`*`, `>`).
    """
    full = check_topic(name.removeprefix(TOPIC))
    parts = full.split(".")
    if not all(map(subjects.token, parts)) or (full != subjects.ANNOUNCEMENTS and len(parts) < 4):
        raise NotFoundError(
            f"`{name}` is not one topic; name one such as `status.deploy`, `tasks.sql` or `announcements`."
        )
    return full


def subscribers(organization: Organization, topic: str) -> list[str]:
    """The roles that hear what is published on a topic, given as a full subject."""
    return [
        role.name
        for role in organization.roles.values()
        if any(_matches(pattern, topic) for pattern in role.settings.subscribe)
    ]


def _matches(pattern: str, subject: str) -> bool:
    wanted, found = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(found) >= len(wanted) and _matches(".".join(wanted[:-1]), ".".join(found[: len(wanted) - 1]))
    return len(wanted) == len(found) and all(w in ("*", f) for w, f in zip(wanted, found, strict=True))
