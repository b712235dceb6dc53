"""Which tool calls a role may make: tables of rules, and what holds for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthub.guards.permissions import Permissions, Verdict, decide, offers
from agenthub.guards.shell_lines import read_line
from agenthub.permission_rules import PermissionRules

ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.ASK, Verdict.DENY


def shell(line: str, **rules: object) -> Verdict:
    return decide(Permissions(PermissionRules.model_validate(rules)), "bash", {"command": line}).verdict


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("git push", ASK),
        ("git push origin main", ASK),
        ("git pushy", ALLOW),
        ("git status && git push", ASK),
        ("git status; git  push --force", ASK),
        ("(cd sub && git push)", ASK),
        ("echo $(git push)", ASK),
        ('echo "done: $(git push)"', ASK),
        ("echo `git push`", ASK),
        ("echo 'git push'", ALLOW),
        ("echo git push", ALLOW),
        ("FOO=1 git push", ASK),
        ("/usr/bin/git push", ASK),
        ("git -C sub push", ASK),
        ("g''it push", ASK),
        ("env A=1 git push", ASK),
        ("timeout 5 git push", ASK),
        ("bash -c 'git push'", ASK),
        ("bash -c 'bash -c \"git push\"'", ASK),
        ("if true; then git push; fi", ASK),
        ("git \\\n push", ASK),
        ("sudo ls", DENY),
        ("ls | sudo tee x", DENY),
        ("pytest -q", ALLOW),
    ],
)
def test_the_defaults_ask_about_what_leaves_and_cannot_be_taken_back(line: str, verdict: Verdict) -> None:
    assert shell(line) is verdict


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("npm test", ALLOW),
        ("npm test -- --watch", DENY),
        ("git log", ALLOW),
        ("git log --oneline | head -3", ALLOW),
        ("git log && rm -rf /", DENY),
        ("git log & rm -rf /", DENY),
        ("git log $(rm -rf /)", DENY),
        ("git log <(rm -rf /)", DENY),
        ("git log > /etc/passwd", DENY),
        ("git log 2>&1 > /dev/null", ALLOW),
        ("git log >/dev/null", ALLOW),
        ("git log >/dev/nullify", DENY),
        ("git log\nrm -rf /", DENY),
        ("git log 'a;b'", ALLOW),
        ("git log # ; rm", ALLOW),
        ("git log 'unclosed", DENY),
        ("git logs", DENY),
        ("LD_PRELOAD=x git log", DENY),
        ("make a b", ALLOW),
        ("make", ALLOW),
        ("", DENY),
    ],
)
def test_a_line_is_allowed_only_if_each_command_in_it_is(line: str, verdict: Verdict) -> None:
    allow = ["Bash(npm test)", "Bash(git log:*)", "Bash(head:*)", "Bash(make *)"]
    assert shell(line, allow=allow, otherwise="deny") is verdict


@pytest.mark.parametrize(
    ("rule", "tool", "arguments", "is_meant"),
    [
        ("mcp__github__*", "mcp__github__merge", {}, True),
        ("mcp__github", "mcp__github__merge", {}, True),
        ("mcp__github", "mcp__githubby__merge", {}, False),
        ("mcp__github__merge", "mcp__github__merge", {}, True),
        ("mcp__*__merge", "mcp__github__merge", {}, True),
        ("Write", "write_file", {"path": "a"}, True),
        ("write_file", "write_file", {"path": "a"}, True),
        ("Read", "write_file", {"path": "a"}, False),
        ("Edit", "write_file", {"path": "a"}, True),
        ("Write(secrets/**)", "write_file", {"path": "secrets/key"}, True),
        ("Write(secrets/**)", "write_file", {"path": "./x/../secrets/a/key"}, True),
        ("Write(secrets/**)", "write_file", {"path": "notes/secrets"}, False),
        ("Write(secrets/**)", "write_file", {}, True),
        ("Bash", "bash", {"command": "ls"}, True),
        ("Bash(*)", "bash", {"command": "ls"}, True),
        ("Bash(npm run * --fix)", "bash", {"command": "npm run lint --fix"}, True),
        ("Bash(npm run * --fix)", "bash", {"command": "npm run lint"}, False),
        ("*", "anything", {}, True),
    ],
)
def test_what_a_rule_means(rule: str, tool: str, arguments: dict[str, str], is_meant: bool) -> None:
    denied = decide(Permissions(PermissionRules(deny=(rule,))), tool, arguments)
    assert (denied.verdict is DENY, denied.rule) == (is_meant, rule if is_meant else "")


def test_a_tools_line_says_what_there_is() -> None:
    permissions = Permissions(only=("Read", "Bash(pytest *)"), always_offered=frozenset({"finish"}))
    assert [offers(permissions, tool) for tool in ("read_file", "bash", "finish", "write_file")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert decide(permissions, "bash", {"command": "pytest -q"}).verdict is ALLOW
    assert decide(permissions, "bash", {"command": "ls"}).verdict is DENY
    assert decide(permissions, "write_file", {}).verdict is DENY
    assert decide(permissions, "finish", {}).verdict is ALLOW


def test_a_yes_is_below_a_deny_and_above_an_ask() -> None:
    rules = PermissionRules(ask=("write_file",), deny=("delegate",))
    permissions = Permissions(rules)
    assert decide(permissions, "write_file", {}, is_approved=True).verdict is ALLOW
    assert decide(permissions, "delegate", {}, is_approved=True).verdict is DENY


def test_the_role_s_own_word_goes_before_the_default() -> None:
    assert shell("git push origin main", allow=["Bash(git push:*)"]) is ALLOW
    assert shell("git push origin main", allow=["Bash(git push:*)"], ask=["Bash(git push:*)"]) is ASK


RULES = st.sampled_from(
    ["Bash", "Bash(git push:*)", "Bash(git:*)", "Bash(ls)", "Bash(rm *)", "write_file", "Write(a/**)", "mcp__x", "*"]
)
LISTS = st.lists(RULES, max_size=4).map(tuple)
COMMANDS = st.sampled_from(["git push", "git log -3", "ls", "ls -l", "rm -rf 'a b'", 'echo "x; y"', "make 2>&1"])
LINES = st.lists(COMMANDS, min_size=1, max_size=4)
CALLS: st.SearchStrategy[tuple[str, dict[str, str]]] = st.one_of(
    LINES.map(lambda parts: ("bash", {"command": "; ".join(parts)})),
    st.sampled_from(["a/b", "c"]).map(lambda path: ("write_file", {"path": path})),
    st.just(("mcp__x__y", {})),
)
_STRICT = {ALLOW: 0, ASK: 1, DENY: 2}


@given(allow=LISTS, ask=LISTS, deny=LISTS, call=CALLS)
def test_deny_beats_ask_beats_allow(allow, ask, deny, call) -> None:
    def verdict(**rules: tuple[str, ...]) -> Verdict:
        return decide(Permissions(PermissionRules.model_validate(rules)), *call).verdict

    all_of_them = verdict(allow=allow, ask=ask, deny=deny)
    if decide(Permissions(PermissionRules(deny=deny)), *call).source.startswith("`permissions.deny`"):
        assert all_of_them is DENY
    elif decide(Permissions(PermissionRules(ask=ask)), *call).source.startswith("`permissions.ask`"):
        assert all_of_them is ASK
    assert _STRICT[all_of_them] >= _STRICT[verdict(allow=allow, ask=ask)] >= _STRICT[verdict(allow=allow)]


@given(allow=LISTS, parts=LINES, joint=st.sampled_from(["; ", " && ", " || ", " | ", " & ", "\n"]))
def test_together_only_what_each_alone_may(allow, parts, joint) -> None:
    permissions = Permissions(PermissionRules(allow=allow, otherwise="deny"))
    alone = {decide(permissions, "bash", {"command": part}).verdict for part in parts}
    together = decide(permissions, "bash", {"command": joint.join(parts)}).verdict
    assert (together is ALLOW) == (alone == {ALLOW})


@given(deny=LISTS, parts=LINES, joint=st.sampled_from(["; ", " && ", " | ", "\n", " $(", " `"]))
def test_one_denied_command_denies_the_line(deny, parts, joint) -> None:
    permissions = Permissions(PermissionRules(deny=deny))
    alone = [decide(permissions, "bash", {"command": part}).verdict for part in parts]
    if DENY in alone:
        assert decide(permissions, "bash", {"command": joint.join(parts)}).verdict is DENY


@given(st.text(alphabet="ab '\"\\;&|$()`<>#\n", max_size=40))
def test_any_line_can_be_read(line: str) -> None:
    found = read_line(line)
    assert all(command.strip() for command in found.commands)
    list(found.all_readings())
