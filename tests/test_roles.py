"""Role files: what real ones look like must load; what would silently mean nothing is named with its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from agenthub.role_settings import NAME_RULE
from agenthub.roles import Role, read_role, read_roles

AMOUNT = "must be a number (0: nothing may be spent; `500k`, `2M`) or the word `unlimited`"
TOPIC_RULE = f"words of {NAME_RULE}, dots between; `*` is one, a last `>` the rest"
TOPICS = "topics are `tasks.…`, `decisions.…`, `status.…`"
NOT_A_MAPPING = "Input should be a valid dictionary or instance of RoleSettings"
TOLD = "it is what the role is told to do"


def role_of(folder: Path, text: str, name: str = "roles/cto.md") -> Role:
    """The only role of `folder`, written as `text`; there must be no problem at all."""
    write(folder, name, text)
    roles, problems = read_roles(folder)
    assert problems == ()
    (role,) = roles
    return role


def problems_of(folder: Path, text: str, name: str = "roles/cto.md") -> list[str]:
    write(folder, name, text)
    return [str(problem) for problem in read_roles(folder).problems]


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode())


def with_settings(text: str) -> str:
    indented = "\n".join(f"  {line}" for line in text.splitlines())
    return f"---\nname: cto\nagenthub:\n{indented}\n---\nYou lead.\n"


def test_a_file_with_everything_is_read_field_by_field(tmp_path: Path) -> None:
    role = role_of(
        tmp_path,
        """---
name: cto
description: Leads engineering.
model: claude-opus-5-5
tools: Read, Grep, Bash(pytest *)
color: blue
permissionMode: plan
hooks: {Stop: [{command: "true"}]}
agenthub:
  reports_to: ceo
  skills: [sql, api]
  subscribe: [topics.status.deploy, tasks.sql, decisions.>, announcements]
  budget_usd_day: 2
  limits: {max_turn_steps: 9, turn_timeout_s: 1.5}
  schedule:
    standup: {cron: "0 9 * * 1-5", text: Run it.}
    smoke: "@every 30m"
    nightly: 0 2 * * *
  replicas: 2
  fallback: architect
  ask_within_s: 60
---

You lead.

--- not an end
""",
    )
    assert (role.name, role.description, role.model, role.color) == (
        "cto",
        "Leads engineering.",
        "claude-opus-5-5",
        "blue",
    )
    assert role.tools == ("Read", "Grep", "Bash(pytest *)")
    assert role.prompt == "You lead.\n\n--- not an end"
    assert role.path == tmp_path / "roles/cto.md"
    assert role.other == {"permissionMode": "plan", "hooks": {"Stop": [{"command": "true"}]}}
    ours = role.settings
    assert (ours.reports_to, ours.fallback, ours.skills, ours.replicas) == ("ceo", "architect", ("sql", "api"), 2)
    assert (ours.budget_usd_day, ours.ask_within_s) == (2.0, 60.0)
    assert (ours.limits.max_turn_steps, ours.limits.max_output_tokens, ours.limits.turn_timeout_s) == (9, None, 1.5)
    assert ours.subscribe == (
        "agent-hub.topics.status.deploy",
        "agent-hub.topics.tasks.sql",
        "agent-hub.topics.decisions.>",
        "agent-hub.global.announcements",
    )
    assert {name: (s.cron, s.every, s.text) for name, s in ours.schedule.items()} == {
        "standup": ("0 9 * * 1-5", None, "Run it."),
        "smoke": (None, "30m", ""),
        "nightly": ("0 2 * * *", None, ""),
    }


CLAUDE_CODE = """---
name: code-reviewer
description: Use this agent when: code was written. Examples:
<example>
Context: The user wrote a function.
user: "Is it prime: 7?"
assistant: "I'll ask the reviewer"
</example>

tools: Read, Grep
model: inherit
customKey: kept
agenthub:
  reports_to: cto
---
You review.
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("no front matter", "You lead.", {"name": "cto", "prompt": "You lead.", "model": None, "tools": None}),
        ("empty front matter", "---\n---\nYou lead.", {"name": "cto", "prompt": "You lead."}),
        ("BOM and CRLF", "\ufeff---\r\nname: x\r\n---\r\nOne.\r\nTwo.\r\n", {"name": "x", "prompt": "One.\nTwo."}),
        ("tabs", "---\nname:\tx\ntools:\n\t- Read\n---\nGo.", {"name": "x", "tools": ("Read",)}),
        ("a colon too many", "---\ndescription: when: asked\nmodel: m\n---\nGo.", {"description": "when: asked"}),
        ("and the key below it", "---\ndescription: when: asked\nmodel: m\n---\nGo.", {"model": "m"}),
        ("line breaks as text", "---\ndescription: a\\nb\n---\nGo.", {"description": "a\nb", "summary": "a"}),
        ("a star is all", "---\ntools: *\n---\nGo.", {"tools": None}),
        ("a bell", "---\ndescription: a\ab\nmodel: m\n---\nGo.", {"description": "a\ab", "model": "m"}),
        ("a quoted star too", '---\ntools: "*"\n---\nGo.', {"tools": None}),
        ("no tools", "---\ntools: []\n---\nGo.", {"tools": ()}),
        (
            "commas in brackets",
            "---\ntools: Bash(git add, git rm), Read\n---\nGo.",
            {"tools": ("Bash(git add, git rm)", "Read")},
        ),
        ("unbalanced quote", '---\ndescription: "a\nmodel: m\n---\nGo.', {"description": '"a', "model": "m"}),
        ("YAML 1.1 words", "---\nname: no\n---\nGo.", {"name": "no"}),
        ("a number", "---\nname: 007\n---\nGo.", {"name": "007"}),
        ("a date", "---\nname: x\nsince: 2026-01-01\n---\nGo.", {"other": {"since": "2026-01-01"}}),
        ("Claude Code's own", CLAUDE_CODE, {"name": "code-reviewer", "tools": ("Read", "Grep"), "model": None}),
        ("its description", CLAUDE_CODE, {"summary": "Use this agent when: code was written."}),
        ("its colour and company", CLAUDE_CODE.replace("customKey: kept", "color: red"), {"color": "red"}),
    ],
)
def test_front_matter_that_people_have_is_read(
    name: str, text: str, expected: dict[str, object], tmp_path: Path
) -> None:
    role = role_of(tmp_path, text)
    assert {key: getattr(role, key) for key in expected} == expected


def test_what_follows_an_example_that_is_not_yaml_is_still_read(tmp_path: Path) -> None:
    role = role_of(tmp_path, CLAUDE_CODE)
    assert role.settings.reports_to == "cto"
    assert 'user: "Is it prime: 7?"' in role.description
    assert "Context" not in role.other


def test_a_key_of_ours_inside_an_example_does_not_replace_the_real_one(tmp_path: Path) -> None:
    role = role_of(tmp_path, CLAUDE_CODE.replace("Context: The", "name: other\nContext: The"))
    assert role.name == "code-reviewer"
    assert "name: other" in role.description


def test_an_agent_of_a_company_is_named_by_slug_or_folder(tmp_path: Path) -> None:
    write(tmp_path, "agents/lead/AGENTS.md", "---\nname: The Boss\nslug: ceo\ntitle: Chief\n---\nLead.")
    write(tmp_path, "agents/eli/AGENTS.md", "---\nname: Eli the First\nreportsTo: ceo\nskills: [a/b]\n---\nWork.")
    roles, problems = read_roles(tmp_path)
    assert problems == ()
    assert [(r.name, r.description, r.settings.reports_to) for r in roles] == [
        ("eli", "", "ceo"),
        ("ceo", "Chief", None),
    ]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (
            "reports_to: ceo\n\n# why\nbugdet_usd_day: 5",
            "line 7: `agenthub.bugdet_usd_day` is not a key. Did you mean `budget_usd_day`?",
        ),
        (
            "limits: {max_turn_stepz: 5}",
            "line 4: `agenthub.limits.max_turn_stepz` is not a key. Did you mean `max_turn_steps`?",
        ),
        ("schedule:\n  a:\n    cronn: x", "line 6: `agenthub.schedule.a.cronn` is not a key. Did you mean `cron`?"),
        (
            "schedule:\n  a:\n    text: x",
            "line 5: `agenthub.schedule.a` needs one of `cron`, `every` and `at`, and only one of them",
        ),
        ("budget_usd_day: -1", f"line 4: `agenthub.budget_usd_day` {AMOUNT}; found -1"),
        ("budget_usd_day: .inf", f"line 4: `agenthub.budget_usd_day` {AMOUNT}; found '.inf'"),
        ("budget_usd_day: true", f"line 4: `agenthub.budget_usd_day` {AMOUNT}; found True"),
        ("replicas: 0", "line 4: `agenthub.replicas`: Input should be greater than or equal to 1; found 0"),
        ("replicas: '2'", "line 4: `agenthub.replicas`: Input should be a valid integer; found '2'"),
        ("reports_to: the boss", f"line 4: `agenthub.reports_to` must be a name: {NAME_RULE}; found 'the boss'"),
        ("fallback: 5", "line 4: `agenthub.fallback`: Input should be a valid string; found 5"),
        ("skills: [two words]", f"line 4: `agenthub.skills` a skill is one word of {NAME_RULE}; found 'two words'"),
        (
            "subscribe: [tasks.>.x]",
            f"line 4: `agenthub.subscribe` 'tasks.>.x' is not a topic: {TOPIC_RULE}",
        ),
        (
            "subscribe: agent-hub.done.*",
            f"line 4: `agenthub.subscribe` 'agent-hub.done.*' is not a topic; {TOPICS}",
        ),
        ("replicas: 1\nreplicas: 2", "line 5: `agenthub.replicas` stands twice; keep one"),
        ("reports_to: [ceo", "line 4: not YAML: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_what_is_wrong_under_our_key_is_named_with_its_line(said: str, problem: str, tmp_path: Path) -> None:
    assert problems_of(tmp_path, with_settings(said)) == [f"roles/cto.md, {problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("---\nname: cto\n---\n \n", f"roles/cto.md: there is no text below the front matter; {TOLD}"),
        ("", f"roles/cto.md: there is no text; {TOLD}"),
        (
            "---\nname: cto\nGo.",
            "roles/cto.md, line 1: the front matter that begins here has no end; close it with a line `---`",
        ),
        ("---\njust text\n---\nGo.", "roles/cto.md, line 2: the front matter must be lines of `key: value`"),
        (
            "---\n# it\nname: Code Reviewer!\n---\nGo.",
            f"roles/cto.md, line 3: `Code Reviewer!` cannot be a role's name: {NAME_RULE}. Write `name: code-reviewer`",
        ),
        (
            "---\ntools: {a: b}\n---\nGo.",
            "roles/cto.md, line 2: `tools` must be a list, or names with commas between them; found {'a': 'b'}",
        ),
        ("---\nmodel: [a]\n---\nGo.", "roles/cto.md, line 2: `model` must be text; found ['a']"),
        (
            "---\nagenthub: ceo\n---\nGo.",
            f"roles/cto.md, line 2: `agenthub`: {NOT_A_MAPPING}; found 'ceo'",
        ),
        (
            "---\nagent-hub: {replicas: 1}\n---\nGo.",
            "roles/cto.md, line 2: `agent-hub` is not a key. Did you mean `agenthub`?",
        ),
        (
            "---\nreports_to: ceo\n---\nGo.",
            "roles/cto.md, line 2: `reports_to` has no effect here; put it under `agenthub:`",
        ),
        ("---\nx: " + "[" * 5000 + "\n---", f"roles/cto.md: there is no text below the front matter; {TOLD}"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, problem: str, tmp_path: Path) -> None:
    assert problems_of(tmp_path, text) == [problem]


def test_unlimited_is_a_word_that_must_be_written(tmp_path: Path) -> None:
    assert role_of(tmp_path, with_settings("budget_usd_day: unlimited")).settings.budget_usd_day == math.inf


def test_a_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path, "roles/a.md", "Work.")
    write(tmp_path, "roles/b.md", with_settings("nonsense: 1"))
    write(tmp_path, "roles/d.md", "Work.")
    (tmp_path / "roles/c.md").write_bytes(b"caf\xe9")
    roles, problems = read_roles(tmp_path)
    assert [role.name for role in roles] == ["a", "d"]
    assert [(problem.path, problem.level) for problem in problems] == [("roles/b.md", "error"), ("roles/c.md", "error")]


def test_the_first_of_a_name_wins_and_the_second_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "roles/qa.md", "First.")
    write(tmp_path, ".claude/agents/team/other.md", "---\nname: QA\n---\nSecond.")
    roles, problems = read_roles(tmp_path)
    assert [role.prompt for role in roles] == ["First."]
    assert [(str(problem), problem.level) for problem in problems] == [
        (".claude/agents/team/other.md: there is a role `qa` already, in roles/qa.md; this file is not used", "warning")
    ]


def test_a_link_to_a_role_and_a_readme_are_no_second_role(tmp_path: Path) -> None:
    write(tmp_path, "roles/qa.md", "Test.")
    write(tmp_path, "roles/README.md", "These are our roles.")
    (tmp_path / ".claude/agents").mkdir(parents=True)
    (tmp_path / ".claude/agents/qa.md").symlink_to(tmp_path / "roles/qa.md")
    roles, problems = read_roles(tmp_path)
    assert ([role.name for role in roles], problems) == (["qa"], ())


def test_a_glob_outside_of_the_folder_is_a_problem(tmp_path: Path) -> None:
    (problem,) = read_roles(tmp_path, ["/etc/*.md"]).problems
    assert (problem.path, problem.level) == ("/etc/*.md", "error")


def test_a_role_cannot_be_changed(tmp_path: Path) -> None:
    role = role_of(tmp_path, "Work.")
    with pytest.raises(ValidationError):
        role.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("sonet", ["qa.md, line 2: `model`: `sonet` is none that is known. Did you mean `sonnet`?"]),
        ("haiku", []),
        ("inherit", []),
        ("claude-sonnet-5", []),
        ("llama-4-70b", []),
    ],
)
def test_a_model_that_is_nearly_a_short_name_is_a_warning(tmp_path: Path, model: str, says: list[str]) -> None:
    (tmp_path / "qa.md").write_text(f"---\nmodel: {model}\n---\nGo.")
    role, problems = read_role(tmp_path / "qa.md", tmp_path)
    assert role is not None
    assert [str(problem) for problem in problems if problem.level == "warning"] == says


def test_a_tool_that_is_not_there_is_a_warning_and_the_role_works_without(tmp_path: Path) -> None:
    path = tmp_path / "qa.md"
    path.write_text("---\ntools: Read, WebFetch, Bash(pytest *), mcp__github__*, Tsak\n---\nGo.")
    role, problems = read_role(path, tmp_path)
    assert role is not None
    assert [(problem.line, problem.level) for problem in problems] == [(2, "warning")]
    assert "WebFetch, Tsak: there is nothing of that name here" in problems[0].text
