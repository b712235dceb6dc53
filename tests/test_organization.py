"""The organization: agenthub.toml and role files put together, and what is wrong between them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agenthub.errors import ConfigError, NotFoundError
from agenthub.organization import Organization, load_organization
from agenthub.role_settings import NAME_RULE
from agenthub.settings import Settings

AMOUNT = "must be a number (0: nothing may be spent; `500k`, `2M`) or the word `unlimited`"
CIRCLE = "`agenthub.reports_to`: managers go round in a circle:"
CHART = {"ceo": None, "cto": "ceo", "finance": "ceo", "backend": "cto", "qa": "cto"}

Load = Callable[..., Organization]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads an organization from a chart (role → manager) and the text of agenthub.toml (None: no file)."""

    def loads(toml: str | None = "", *, strict: bool = True, chart: dict[str, str | None] = CHART) -> Organization:
        folder = tmp_path / "Acme Corp."
        (folder / "roles").mkdir(parents=True, exist_ok=True)
        for name, manager in chart.items():
            ours = f"agenthub:\n  reports_to: {manager}\n" if manager else ""
            (folder / f"roles/{name}.md").write_text(f"---\nname: {name}\n{ours}---\nYou are the {name}.")
        config = folder / "agenthub.toml"
        if toml is not None:
            config.write_text(toml)
        return load_organization(Settings(folder=folder, config=config if toml is not None else None), strict=strict)

    return loads


def problems(organization: Organization) -> list[str]:
    return [str(problem) for problem in organization.problems]


@pytest.mark.parametrize("toml", [None, ""])
def test_roles_alone_make_an_organization(toml: str | None, load: Load) -> None:
    organization = load(toml)
    assert (organization.org, organization.operator) == ("acme-corp", "you")
    assert organization.budget.usd_day == 20
    assert organization.terms("qa")[:6] == ("claude-sonnet-5-5", 5.0, 1800.0, 50, 16_000, 1800.0)
    assert (organization.defaults.max_tries, organization.defaults.ageing_s, organization.defaults.max_hops) == (
        3,
        300,
        16,
    )
    assert organization.problems == ()


def test_the_chart_answers_who_works_for_whom(load: Load) -> None:
    organization = load()
    assert organization.reports("you") == ("ceo",)
    assert organization.reports("cto") == ("backend", "qa")
    assert organization.managers_chain("qa") == ("cto", "ceo", "you")
    assert organization.managers_chain("ceo") == ("you",)
    assert organization.colleagues("cto") == ("finance",)
    assert organization.colleagues("ceo") == ()
    assert [organization.is_manager(name) for name in ("you", "ceo", "cto", "qa")] == [True, True, True, False]
    assert organization.role("ceo").settings.reports_to == "you"


def test_a_role_that_does_not_exist_is_answered_with_the_nearest(load: Load) -> None:
    organization = load()
    for ask in (
        organization.role,
        organization.terms,
        organization.reports,
        organization.managers_chain,
        organization.colleagues,
    ):
        with pytest.raises(NotFoundError, match=r"There is no role `bakend`. Did you mean `backend`?"):
            ask("bakend")


def test_agenthub_toml_overrides_what_a_role_file_says(load: Load) -> None:
    organization = load(
        """
        operator = "ada"
        [defaults]
        model = "opus"
        budget_usd_day = 3
        max_turn_steps = 7
        [budget]
        usd_day = "unlimited"
        [roles.qa]
        reports_to = "ceo"
        model = "haiku"
        description = "Tests."
        budget_usd_day = "unlimited"
        subscribe = ["status.deploy"]
        limits.max_output_tokens = 99
        """
    )
    qa = organization.role("qa")
    assert (qa.settings.reports_to, qa.model, qa.description) == ("ceo", "haiku", "Tests.")
    assert qa.settings.subscribe == ("agent-hub.topics.status.deploy",)
    assert qa.prompt == "You are the qa."
    assert organization.terms("qa")[:6] == ("claude-haiku-5-5", math.inf, 1800.0, 7, 99, 1800.0)
    assert organization.terms("backend")[:6] == ("claude-opus-5-5", 3.0, 1800.0, 7, 16_000, 1800.0)
    assert organization.budget.usd_day == math.inf
    assert organization.managers_chain("qa") == ("ceo", "ada")


def test_an_override_of_one_limit_keeps_the_others(load: Load, tmp_path: Path) -> None:
    load()
    path = tmp_path / "Acme Corp." / "roles/data.md"
    path.write_text("---\nagenthub:\n  limits: {max_turn_steps: 4, max_output_tokens: 5}\n---\nWork.")
    limits = load("[roles.data.limits]\nmax_turn_steps = 6").role("data").settings.limits
    assert (limits.max_turn_steps, limits.max_output_tokens) == (6, 5)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('orgg = "a"', "line 1: `orgg` is not a key. Did you mean `org`?"),
        ("[defaults]\nmax_trys = 3", "line 2: `defaults.max_trys` is not a key. Did you mean `max_tries`?"),
        (
            "[roles.qa]\n\nbugdet_usd_day = 1",
            "line 3: `roles.qa.bugdet_usd_day` is not a key. Did you mean `budget_usd_day`?",
        ),
        (
            "roles.qa.limits.max_turn_step = 1",
            "line 1: `roles.qa.limits.max_turn_step` is not a key. Did you mean `max_turn_steps`?",
        ),
        ('[nats]\nulr = "x"', "line 2: `nats.ulr` is not a key. Did you mean `url`?"),
        ('[natz]\nurl = "x"', "line 1: `natz` is not a key. Did you mean `nats`?"),
        ('nats = "x"', "line 1: `nats` must be a table: `[nats]`"),
        ("[process]\ngrace = 1", "line 2: `process.grace` is not a key. Did you mean `grace_s`?"),
        (
            'roles = ["x/*.md"]',
            "line 1: `roles` is the table of overrides; where role files are is said by `role_files`",
        ),
        ("[budget]\nusd_day = inf", f"line 2: `budget.usd_day` {AMOUNT}; found inf"),
        (
            "[defaults]\nmax_hops = 0",
            "line 2: `defaults.max_hops`: Input should be greater than or equal to 1; found 0",
        ),
        ('org = "Acme Corp"', f"line 1: `org` must be a name: {NAME_RULE}; found 'Acme Corp'"),
        ("[roles.qaa]\nreplicas = 1", "line 1: `[roles.qaa]`: There is no role `qaa`. Did you mean `qa`?"),
        (
            '[roles.qa]\nreports_to = "ctoo"',
            "line 2: `roles.qa.reports_to`: There is no role `ctoo`. Did you mean `cto`?",
        ),
        ('[roles.qa]\nfallback = "qa"', "line 2: `roles.qa.fallback`: `qa` cannot stand in for itself"),
        (
            'operator = "finance"',
            "roles/finance.md: `finance` is the operator; give the role or `operator` another name",
        ),
        ('role_files = ["none/*.md"]', "line 1: there is no role. Role files are looked for as `none/*.md` in "),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(toml: str, expected: str, load: Load) -> None:
    (found,) = problems(load(toml, strict=False))
    assert found.startswith(expected if expected.startswith("roles/") else f"agenthub.toml, {expected}")
    with pytest.raises(ConfigError) as caught:
        load(toml)
    assert str(caught.value) == found


@pytest.mark.parametrize(
    ("chart", "expected"),
    [
        (
            {"ceo": None, "qa": "ctoo", "cto": "ceo"},
            ["roles/qa.md, line 4: `agenthub.reports_to`: There is no role `ctoo`. Did you mean `cto`?"],
        ),
        (
            {"ceo": None, "qa": "your"},
            ["roles/qa.md, line 4: `agenthub.reports_to`: There is no role `your`. Did you mean `you`?"],
        ),
        (
            {"a": "c", "b": "a", "c": "b", "d": "a"},
            [f"roles/a.md, line 4: {CIRCLE} a → c → b → a. Let one of them report to `you`"],
        ),
        (
            {"ceo": None, "leader": "ceo"},
            ["roles/leader.md: `leader` is what the hub calls the process that leads; give the role another name"],
        ),
        ({"a": "a", "b": None}, [f"roles/a.md, line 4: {CIRCLE} a → a. Let one of them report to `you`"]),
    ],
)
def test_what_is_wrong_between_roles_is_named(chart: dict[str, str | None], expected: list[str], load: Load) -> None:
    organization = load(chart=chart, strict=False)
    assert problems(organization) == expected
    for name in chart:
        assert len(organization.managers_chain(name)) <= len(chart)


def test_all_errors_are_listed_one_a_line(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load('orgg = "x"\n[roles.qa]\nfallback = "nobody"\nreplicas = 0', chart={"qa": "xyz"})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "agenthub.toml, line 1",
        "agenthub.toml, line 4",
        "roles/qa.md, line 4",
    ]


def test_a_broken_role_file_is_not_told_again_by_all_who_report_to_it(load: Load, tmp_path: Path) -> None:
    load()
    (tmp_path / "Acme Corp." / "roles/cto.md").write_text("")
    organization = load("[roles.cto]\nreplicas = 1", strict=False, chart={"qa": "cto"})
    assert problems(organization) == ["roles/cto.md: there is no text; it is what the role is told to do"]


def test_schedules_stand_with_their_role_or_for_themselves(load: Load) -> None:
    organization = load(
        '[roles.qa]\nschedule = {smoke = "@every 30m"}\n[schedules.audit]\nto = "qa"\nat = 2026-12-24 18:00:00'
    )
    assert organization.problems == ()
    assert organization.role("qa").settings.schedule["smoke"].every == "30m"
    assert organization.schedules["audit"].at == "2026-12-24T18:00:00"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[schedules.a]\nto = "qaa"\nevery = "1h"', "line 1: `[schedules.a]`: There is no role `qaa`"),
        ('[schedules.a]\nto = "qa"\ncron = "61 * * * *"', "the minute is a number from 0 to 59; found '61'"),
        ('[schedules.a]\nto = "qa"\nevery = "1s"', "`every` is at least 10 s; found '1s'"),
        ('[schedules.a]\nto = "qa"\ncron = "@daily"\nzone = "Mars"', "'Mars' is no time zone"),
        ('[calendar]\nzone = "Mars"', "'Mars' is no time zone"),
        ('[schedules.a]\nto = "qa"\nevery = "1h"\ncheck = "true"\nnews = ["any"]', "not both"),
        ('[roles.qa]\nschedule = {"a.b" = "@daily"}', "'a.b' is no name of a schedule"),
    ],
)
def test_a_wrong_schedule_is_said(load: Load, toml: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(toml)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "said"),
    [("", ""), ("docs/knowledge", ""), ("/srv/knowledge", ""), ("../knowledge", "without `..`"),
     ("~/knowledge", "found '~/knowledge'"), ("roles", "role files are looked for in "), (".", "found '.'"),
     (".claude/agents", "role files are looked for")],
)  # fmt: skip
def test_the_knowledge_base_is_where_the_organization_says(load: Load, folder: str, said: str, tmp_path: Path) -> None:
    toml = f'[knowledge]\nfolder = "{folder}"'
    if said:
        with pytest.raises(ConfigError) as caught:
            load(toml)
        assert said in str(caught.value)
    else:
        home = tmp_path / "Acme Corp."
        assert load(toml).knowledge == (home / folder if folder else home / ".agenthub" / "knowledge")


def test_the_hash_changes_with_what_roles_work_under_and_with_nothing_else(load: Load) -> None:
    first = load("# a comment").roster_hash
    assert first == load('operator = "you"\n[defaults]\nmax_hops = 16').roster_hash
    others = [
        load("[roles.qa]\nreplicas = 2").roster_hash,
        load("[defaults]\nmax_hops = 17").roster_hash,
        load("[budget]\nusd_day = 'unlimited'").roster_hash,
        load(chart={**CHART, "docs": "cto"}).roster_hash,
    ]
    assert len({first, *others}) == 5
    assert len(first) == 12


def test_the_hash_does_not_depend_on_where_the_files_lie(load: Load, tmp_path: Path) -> None:
    here = load('org = "acme"')
    there = shutil.copytree(tmp_path / "Acme Corp.", tmp_path / "elsewhere")
    copied = load_organization(Settings(folder=there, config=there / "agenthub.toml"))
    assert copied.roster_hash == here.roster_hash
