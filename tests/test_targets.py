"""Whom a person means: a role, everybody, a team, a skill, a topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from agenthub.client.targets import concrete_topic, recipients, subscribers
from agenthub.errors import NotFoundError
from agenthub.organization import Organization, load_organization
from agenthub.settings import Settings
from tests.organization import write_organization


@pytest.fixture
def organization(tmp_path: Path) -> Organization:
    write_organization(tmp_path)
    return load_organization(Settings.load(config=tmp_path / "agenthub.toml"))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("backend", ["backend"]),
        ("you", ["you"]),
        ("@all", ["backend", "ceo", "cto", "qa"]),
        ("@cto", ["backend", "qa"]),
        ("@ceo", ["backend", "cto", "qa"]),  # at any level
        ("@you", ["backend", "ceo", "cto", "qa"]),
        ("?skill=sql", ["backend"]),
    ],
)
def test_a_target_stands_for_inboxes(organization: Organization, target: str, expected: list[str]) -> None:
    assert recipients(organization, target) == expected


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("bakend", "Did you mean `backend`?"),
        ("@ctp", "Did you mean `@cto`?"),
        ("@qa", "Nobody reports to `qa`"),
        ("?skill=sqi", "Did you mean `sql`?"),
        ("?who", "by skill"),
        ("", "There is no role"),
    ],
)
def test_a_target_that_stands_for_nobody_is_an_error(organization: Organization, target: str, says: str) -> None:
    with pytest.raises(NotFoundError, match=says.replace("?", r"\?")):
        recipients(organization, target)


@pytest.mark.parametrize("name", ["status.*", "status.>", "nonsense.x", "status", "status.a b", "agent-hub.done.x.y"])
def test_only_one_concrete_topic_can_be_published_on(name: str) -> None:
    with pytest.raises(NotFoundError):
        concrete_topic(name)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("status.deploy", ["backend", "qa"]),
        ("topic:tasks.sql", ["backend"]),
        ("announcements", ["backend"]),
        ("status.x", []),
    ],
)
def test_subscribers_are_the_roles_that_will_read_it(
    organization: Organization, topic: str, expected: list[str]
) -> None:
    assert sorted(subscribers(organization, concrete_topic(topic))) == expected
