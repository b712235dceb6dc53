"""The organization that we ship: it loads without a word, and its texts keep what they promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agenthub.organization import Organization, load_organization
from agenthub.settings import Settings

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "roles").glob("*.md"))


@pytest.fixture(scope="module")
def organization() -> Organization:
    return load_organization(Settings(folder=ROOT, config=ROOT / "config/agenthub.toml"))


def test_the_shipped_organization_has_eleven_roles_and_no_problem(organization: Organization) -> None:
    assert organization.problems == ()
    assert sorted(organization.roles) == NAMES
    assert len(NAMES) == 11


def test_the_shipped_chart_leads_from_the_operator_to_everybody(organization: Organization) -> None:
    assert organization.reports("you") == ("ceo",)
    assert organization.reports("ceo") == ("cto", "finance", "marketing")
    assert organization.reports("cto") == ("architect", "backend", "devops", "docs", "frontend", "qa", "security")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_role_is_worth_using(name: str, organization: Organization) -> None:
    role = organization.role(name)
    assert 25 <= len(role.prompt.splitlines()) <= 60
    assert role.prompt.startswith("You are ")
    assert "\n" not in role.description
    assert "; use for " in role.description or "; use before " in role.description
    assert 3 <= len(role.settings.skills) <= 6
    for heading in ("## You own", "## How you work", "## How you decide", "## Never", "## Ask a person"):
        assert heading in role.prompt
    assert "`finish`" in role.prompt
    assert "needs_human" in role.prompt
    assert not re.search(r"world-class|expert in|delve|leverage|seamless", role.prompt, re.IGNORECASE)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_role_names_only_tools_outcomes_and_roles_that_exist(name: str, organization: Organization) -> None:
    tools = {"delegate", "send", "report_status", "finish", "read_file", "write_file", "list_files"}
    outcomes = {"done", "blocked", "needs_human", "failed"}
    others = {"button", "decisions/<topic>.md"}
    quoted = set(re.findall(r"`([^`]+)`", organization.role(name).prompt))
    assert quoted <= tools | outcomes | others | set(organization.roles)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_role_that_is_told_to_delegate_has_somebody_to_delegate_to(
    name: str, organization: Organization
) -> None:
    assert ("`delegate`" in organization.role(name).prompt) == organization.is_manager(name)
