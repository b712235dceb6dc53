"""The real Claude Code, and its shell, before the gate to its model: no question is asked that may not be."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from agenthub.errors import BreakerOpenError, BudgetExhaustedError, FrozenError, HubUnreachableError, LeaseLostError
from agenthub.messages import Outcome, Usage
from agenthub.sandbox import isolation
from agenthub.sessions.session import ModelCalled, TurnEnd, TurnResult
from tests.organization import until
from tests.sessions.sessions import NEEDS_CLAUDE_CODE, Office, OpensOffice, Purse, by_curl, calls

pytestmark = NEEDS_CLAUDE_CODE
with_shell = pytest.mark.skipif(
    bool(isolation().remedy) or shutil.which("curl", path="/usr/bin:/bin") is None,
    reason=isolation().found or "no curl to ask with",
)


def bash(command: str) -> str:
    return f"rehearse: tool Bash {json.dumps({'command': command})}\n"


def daemon(command: str) -> str:
    """A command that leaves one behind which runs as soon as there is a file `go`, and then makes one `asked`."""
    waits = f"until test -e go; do sleep 0.05; done; {command} > answer; touch asked"
    return f"setsid sh -c {shlex.quote(waits)} > /dev/null 2>&1 < /dev/null & echo begun"


def said(role: Office, number: int = 0, turn_id: str = "a") -> str:
    """What came of a call."""
    step = role.journal.step(turn_id, number)
    assert step is not None
    assert step.result is not None
    return str(step.result["content"])


def models(role: Office) -> list[str]:
    return [str(request["model"]) for request in role.requests]


def no_money() -> BudgetExhaustedError:
    return BudgetExhaustedError("backend", "usd_day", spent="1.00 of 1.00 USD", opens="tomorrow", retry_after_s=60)


class Refusing(Purse):
    """Says no to some questions, by their number in the order in which they come; the first opens the turn."""

    def __init__(self, **errors: Exception) -> None:
        super().__init__()
        self._errors, self.count = {int(name.removeprefix("at_")): error for name, error in errors.items()}, 0

    async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
        self.error, self.count = self._errors.get(self.count), self.count + 1
        await super().reserve(turn_id, input_tokens=input_tokens)


# ── its shell ──────────────────────────────────────────────────────────────────────────────────────
@with_shell
async def test_what_its_shell_asks_beyond_the_limit_reaches_nobody_and_the_turn_goes_on(office: OpensOffice) -> None:
    purse = Refusing(at_2=no_money())
    role = await office(rules=("Bash",), meter=purse)
    assert (await role.turn(bash(by_curl()) + "rehearse: say Done.")).text == "Done."
    told = json.loads(said(role))["error"]
    assert (told["type"], told["message"]) == ("permission_error", str(no_money()))
    assert models(role) == ["claude-sonnet-5-5"] * 2


@with_shell
async def test_a_limit_that_its_shell_uses_up_is_passed_by_no_further_question(office: OpensOffice) -> None:
    purse = Purse()
    role = await office(rules=("Bash",), meter=purse)

    async def is_spent_by_three() -> None:
        if len(role.requests) == 3:
            purse.usd = purse.spent_usd

    purse.reserving = is_spent_by_three
    many = f"for i in 1 2 3 4 5 6; do {by_curl()}; echo; done"
    with pytest.raises(BudgetExhaustedError):
        await role.turn(bash(many) + "rehearse: say Done.")
    assert models(role) == ["claude-sonnet-5-5", "claude-haiku-4-5", "claude-haiku-4-5"]
    assert said(role).count("permission_error") == 4
    assert 0 < purse.spent_usd == purse.usd


@with_shell
async def test_a_daemon_that_asks_while_no_turn_runs_is_refused(office: OpensOffice) -> None:
    role = await office(rules=("Bash",))
    workspace = role.folder / "workspace"
    assert (await role.turn(bash(daemon(by_curl())) + "rehearse: say Done.")).text == "Done."
    (workspace / "go").touch()
    await until((workspace / "asked").exists, within_s=30)
    assert "No turn of this role runs" in (workspace / "answer").read_text()
    assert models(role) == ["claude-sonnet-5-5"] * 2


@with_shell
async def test_what_a_daemon_has_asked_is_cut_off_with_the_turn_and_counted_in_it(office: OpensOffice) -> None:
    purse = Purse()
    role = await office(rules=("Bash",), meter=purse)
    stream = by_curl().replace('"max_tokens"', '"stream": true, "max_tokens"')

    async def asks_in_the_end(name: str) -> None:
        role.fails(stall_after_events=2)
        (role.folder / "workspace" / "go").touch()
        await until(lambda: len(role.requests) == 3, within_s=30)

    role.toolbox.during = asks_in_the_end
    told = await role.events(bash(daemon(stream)) + calls(("end", "all good")))
    assert isinstance(told[-1], TurnResult)
    assert [event.model for event in told if isinstance(event, ModelCalled)] == models(role)
    assert role.journal.usage_of("a").calls == 3
    assert len(purse.settled) == 4
    assert purse.spent_usd == pytest.approx(role.journal.usage_of("a").cost_usd)
    await until((role.folder / "workspace" / "asked").exists, within_s=30)  # it was let go of


@with_shell
async def test_each_answer_is_settled_and_recorded_once(office: OpensOffice) -> None:
    purse = Purse()
    role = await office(rules=("Bash",), meter=purse)
    told = await role.events(bash(f"{by_curl()}; {by_curl()}") + "rehearse: say Done.")
    took = [event.usage for event in told if isinstance(event, ModelCalled)]
    opened, *settled = purse.settled
    assert opened == Usage()
    assert len(settled) == len(took) == 4
    assert sorted(settled, key=str) == sorted(took, key=str)
    total = role.journal.usage_of("a")
    assert (total.calls, total.tokens) == (4, sum(usage.tokens for usage in took))
    assert total.cost_usd == pytest.approx(purse.spent_usd)


# ── Claude Code itself ─────────────────────────────────────────────────────────────────────────────
async def test_a_turn_that_comes_to_the_limit_stops_there_and_goes_on_in_the_same_conversation(
    office: OpensOffice,
) -> None:
    purse = Purse(usd=1e-6)
    role = await office(meter=purse)
    text = calls(("pay", "1"), ("end", "all good"))
    with pytest.raises(BudgetExhaustedError) as caught:
        await role.turn(text)
    assert (caught.value.account, caught.value.retry_after_s) == ("test", 60)
    assert len(role.requests) == 1
    with pytest.raises(BudgetExhaustedError):
        await role.turn(text)  # the next try is not even begun
    assert len(role.requests) == 1
    purse.usd = 100
    assert await role.turn(text) == TurnResult(TurnEnd.FINISHED, Outcome.DONE, "all good", ("proof",))
    assert role.toolbox.texts("pay") == ["1"]
    assert "did 1" in role.asked()
    assert "You began with the next message before" in role.asked()
    assert len(list(role.folder.glob("home/projects/*/*.jsonl"))) == 1


@pytest.mark.parametrize("at", [1, 2], ids=["first question", "second question"])
@pytest.mark.parametrize(
    "error",
    [
        no_money(),
        BreakerOpenError("backend", "it said: the conversation is too long\n" * 20, retry_after_s=30, is_of_role=True),
        FrozenError("by you at noon"),
        LeaseLostError("another process has the role"),
        HubUnreachableError("no answer"),
        OSError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_why_it_was_not_asked_is_how_the_turn_ends(office: OpensOffice, at: int, error: Exception) -> None:
    role = await office(meter=Refusing(**{f"at_{at}": error}))
    text = calls(("pay", "1"), ("end", "all good"))
    with pytest.raises(type(error)) as caught:
        await role.turn(text)
    assert caught.value is error
    assert len(role.requests) == at - 1
    assert (await role.turn(text)).text == "all good"
    assert role.toolbox.texts("pay") == ["1"]
