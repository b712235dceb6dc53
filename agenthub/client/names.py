"""Names and queues that follow from an organization: what provisioning must make, what a topic is called in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from agenthub import subjects
from agenthub.bus.access import Access, access_for
from agenthub.bus.identity import SYSTEM, Keyring
from agenthub.bus.permissions import Member
from agenthub.bus.topology import RoleQueues
from agenthub.errors import NotFoundError, unknown
from agenthub.organization import Organization
from agenthub.settings import Settings


def role_queues(organization: Organization, settings: Settings) -> list[RoleQueues]:
    """What provisioning must make: queues for each role, and an inbox for the operator."""
    roles = [
        RoleQueues(role.name, role.settings.subscribe, role.settings.replicas, settings.ack_wait_s)
        for role in organization.roles.values()
    ]
    return [*roles, RoleQueues(organization.operator, works=False)]


def members(organization: Organization, topics: Mapping[str, tuple[str, ...]]) -> list[Member]:
    """What must be known of each role to say what it may do; `topics`: where a person lets roles publish."""
    return [
        Member(role.name, is_manager=organization.is_manager(role.name), granted_topics=topics.get(role.name, ()))
        for role in organization.roles.values()
    ]


def access_of(
    organization: Organization, settings: Settings, *, admits_strangers: bool = True,
    topics: Mapping[str, tuple[str, ...]] = MappingProxyType({}), besides: Iterable[str] = (),
) -> Access:  # fmt: skip
    """Who may come in at a server of this organization; makes the keys that are missing.

    Args:
        topics: Subjects on which a person lets roles publish, by role.
        besides: Roles that still run, or whose messages are still to be believed, although they have no file.
    """
    strays = [Member(name, granted_topics=topics.get(name, ())) for name in besides]
    return access_for(
        Keyring(settings.keys), [*members(organization, topics), *strays],
        is_cluster=max(settings.nats_servers, settings.nats_replicas or 1) > 1, admits_strangers=admits_strangers,
    )  # fmt: skip


def ensure_signers(organization: Organization, settings: Settings) -> None:
    """Make the keys to sign with, where a server admits us by something else: there nobody lists who may come in."""
    keyring = Keyring(settings.keys)
    has_all = not keyring.is_there or keyring.path(SYSTEM).exists()  # else they were dealt, and here is only one
    if settings.transport.has_login and has_all:
        keyring.ensure(organization.roles)


def check_topic(name: str) -> str:
    """Full subject of a topic as people write it.

    Raises:
        NotFoundError: If there is no such kind of topic.
    """
    full = subjects.topic(name)
    kinds = ("tasks", "decisions", "status")
    if full != subjects.ANNOUNCEMENTS and full.removeprefix("agent-hub.topics.").split(".")[0] not in kinds:
        raise NotFoundError(unknown("kind of topic", name.split(".")[0], [*kinds, "announcements"]))
    return full
