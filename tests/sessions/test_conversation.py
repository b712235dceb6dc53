"""The tool loop: what the model is asked, what its tools do, how a turn ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agenthub.errors import HubUnreachableError, LeaseLostError, ModelUnavailableError, RefusedError, SessionError
from agenthub.messages import Outcome, Usage
from agenthub.sessions.model_calls import Answer
from agenthub.sessions.session import (
    ModelCalled,
    Prompt,
    SessionEvent,
    TextDelta,
    ToolEnded,
    ToolStarted,
    TurnEnd,
    TurnResult,
)
from agenthub.sessions.tool_calls import MAX_RESULT_CHARACTERS
from tests.sessions.conftest import Opens
from tests.sessions.scripted import (
    USAGE,
    Desk,
    calls,
    check_request,
    last_user_blocks,
    says,
    task,
)


def results(desk: Desk, request: int = -1) -> list[tuple[str, bool]]:
    """Text and error flag of the tool results in a request's last message."""
    blocks = last_user_blocks(desk.model.requests[request])
    return [(b["content"], b.get("is_error", False)) for b in blocks if b["type"] == "tool_result"]


def texts(desk: Desk, request: int = -1) -> list[str]:
    return [b["text"] for b in last_user_blocks(desk.model.requests[request]) if b["type"] == "text"]


# ── a turn ─────────────────────────────────────────────────────────────────────────────────────────
async def test_a_model_that_just_answers_ends_the_turn_with_its_words(desk: Opens) -> None:
    role = await desk(says("Good morning."))
    assert await role.events(text="Hello") == [
        TextDelta("Good morning."),
        ModelCalled(USAGE),
        TurnResult(TurnEnd.STOPPED, text="Good morning."),
    ]
    assert role.model.requests == [[{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]]
    assert (await role.conversation.context()) == (USAGE.tokens, 1000)


async def test_a_tool_is_run_and_its_result_goes_back(desk: Opens) -> None:
    role = await desk(calls(("write", {"text": "plan"})), says("Written."))
    assert await role.events() == [
        ModelCalled(USAGE),
        ToolStarted("write", "plan"),
        ToolEnded("write", "did plan", is_error=False),
        TextDelta("Written."),
        ModelCalled(USAGE),
        TurnResult(TurnEnd.STOPPED, text="Written."),
    ]
    assert role.toolbox.done == [("write", "plan", "a~1")]
    assert results(role) == [("did plan", False)]


async def test_several_calls_of_one_answer_are_run_in_order_under_keys_of_their_own(desk: Opens) -> None:
    one, two, three = [("write", {"text": text}) for text in ("one", "two", "three")]
    role = await desk(calls(one, two), calls(three), says("Done."))
    await role.turn()
    assert role.toolbox.done == [("write", "one", "a~1"), ("write", "two", "a~2"), ("write", "three", "a~3")]
    assert results(role, 1) == [("did one", False), ("did two", False)]


async def test_a_tool_that_has_nothing_to_say_is_answered_all_the_same(desk: Opens) -> None:
    role = await desk(calls(("write", {"text": "silently"})), says("Done."))
    await role.turn()
    assert results(role) == [("ok", False)]


async def test_a_tool_may_end_the_turn_without_another_model_call(desk: Opens) -> None:
    role = await desk(calls(("end", {"text": "all good"})))
    assert await role.turn() == TurnResult(TurnEnd.FINISHED, Outcome.DONE, "all good", ("proof",))
    assert len(role.model.requests) == 1


async def test_the_first_call_that_ends_the_turn_says_how_and_the_calls_beside_it_are_made(desk: Opens) -> None:
    role = await desk(calls(("write", {}), ("park", {"text": "waits"}), ("end", {}), ("write", {"text": "b"})))
    assert await role.turn() == TurnResult(TurnEnd.PARKED, text="waits")
    assert role.toolbox.texts("write") == ["", "b"]


async def test_what_a_turn_ended_with_stands_at_the_head_of_the_next_user_message(desk: Opens) -> None:
    wrote = calls(("write", {"text": "before"}))
    role = await desk(wrote, calls(("write", {"text": "x"}), ("end", {"text": "done"})), says("Next."))
    await role.turn("a")
    await role.turn("b", "the second task")
    assert [block["type"] for block in last_user_blocks(role.model.requests[2])] == ["tool_result"] * 2 + ["text"]
    assert results(role) == [("did x", False), ("did done", False)]
    assert texts(role) == ["the second task"]


async def test_the_model_gets_its_tools_in_the_same_order_whatever_the_order_of_the_host(desk: Opens) -> None:
    role = await desk(says("Hi."), says("Hi."))
    await role.turn("a")
    tools = role.toolbox.tools()
    role.toolbox.tools = lambda: tools[::-1]  # type: ignore[method-assign]
    await role.restart()
    await role.turn("b")
    assert role.model.tools == [["end", "park", "pay", "write"]] * 2


# ── what goes wrong ────────────────────────────────────────────────────────────────────────────────
async def test_a_tool_that_does_not_exist_is_answered_with_those_that_do(desk: Opens) -> None:
    role = await desk(calls(("rm", {})), says("Oh."))
    events = await role.events()
    assert ToolStarted("rm", "(no such tool)") in events
    assert results(role) == [("There is no tool `rm`. There are: end, park, pay, write.", True)]


@pytest.mark.parametrize("wrong", [{"text": 1}, {"txet": "x"}, {"text": "x", "more": 1}, "text", [], None])
async def test_wrong_input_is_explained_to_the_model_and_nothing_is_run(desk: Opens, wrong: Any) -> None:
    role = await desk(calls(("pay", wrong)), says("Oh."))
    assert ToolStarted("pay", "(wrong input)") in await role.events()
    [(text, is_error)] = results(role)
    assert is_error
    assert text.startswith("The input of `pay` is not right.")
    assert role.toolbox.done == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RefusedError("ask the cto"), "ask the cto"),
        (FileNotFoundError(2, "No such file", "x.md"), "[Errno 2] No such file: 'x.md'"),
        (ValueError("not a number"), "not a number"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_what_a_tool_refuses_or_cannot_do_is_a_result(desk: Opens, error: Exception, said: str) -> None:
    role = await desk(calls(("pay", {})), says("Oh."))
    role.toolbox.before["pay"] = [error]
    await role.turn()
    assert results(role) == [(said, True)]
    await role.restart()
    role.model.replies = [says("Next.")]
    await role.turn("b")
    check_request(role.model.requests[-1])


@pytest.mark.parametrize("error", [KeyError("bug"), HubUnreachableError("no server"), LeaseLostError("not ours")])
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_an_error_that_is_no_result_ends_the_turn_and_the_next_turn_has_a_valid_history(
    desk: Opens, error: Exception, is_restarted: bool
) -> None:
    role = await desk(calls(("write", {"text": "x"}), ("pay", {}), ("pay", {"text": "later"})), says("Next."))
    role.toolbox.before["pay"] = [error]
    with pytest.raises(type(error)):
        await role.turn("a")
    if is_restarted:
        await role.restart()
    await role.turn("b")
    (wrote, _), (failed, _), (later, _) = results(role)
    assert wrote == "did x"
    assert "unknown whether" in failed
    assert later == "The turn ended before this call; it was not made."


async def test_a_long_result_is_cut_in_the_middle(desk: Opens) -> None:
    text = f"head {'x' * 100_000} tail"
    role = await desk(calls(("write", {"text": text})), says("Long."))
    await role.turn()
    [(shown, _)] = results(role)
    assert len(shown) < MAX_RESULT_CHARACTERS + 100
    assert shown.startswith("did head")
    assert shown.endswith("tail")
    assert "70,014 characters left out" in shown


async def test_a_result_with_half_a_character_does_not_spoil_the_conversation(desk: Opens) -> None:
    role = await desk(calls(("write", {"text": "a\udc80b"})), says("Odd."))
    await role.turn()
    assert results(role) == [("did a\ufffdb", False)]


async def test_a_cut_answer_is_gone_on_with(desk: Opens) -> None:
    role = await desk(says("I have", "max_tokens"), calls(("write", {}), stop_reason="max_tokens"), says("finished."))
    assert (await role.turn()).text == "finished."
    assert [text[:31] for text in texts(role, 1)] == ["[your answer was cut off here at"[:31]]
    assert results(role, 2) == [("did ", False)]
    assert texts(role, 2) == texts(role, 1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer([], "end_turn", USAGE), "answered with nothing"),
        (Answer([], "max_tokens", USAGE), "answered with nothing"),
        (says("I must not.", "refusal"), "refused"),
        (says("So then", "model_context_window_exceeded"), "too long"),
    ],
)
async def test_an_answer_that_is_none_fails_the_turn_is_paid_and_leaves_no_trace(
    desk: Opens, answer: Answer, said: str
) -> None:
    role = await desk(answer, says("Now."))
    with pytest.raises(SessionError, match=said):
        await role.turn()
    assert role.journal.usage_of("a") == USAGE
    assert (await role.turn()).text == "Now."
    assert len(role.model.requests[1]) == 1
    assert role.journal.usage_of("a") == USAGE + USAGE


async def test_a_model_that_never_comes_to_an_end_fails_the_turn(desk: Opens) -> None:
    role = await desk(says("x"))

    async def nothing(**_: object) -> Any:
        yield TextDelta("I beg")

    role.model.answer = nothing  # type: ignore[method-assign]
    with pytest.raises(SessionError, match="never came to its end"):
        await role.turn()


async def test_a_try_that_broke_off_is_paid_and_told(desk: Opens) -> None:
    role = await desk(USAGE, USAGE, says("At last."), USAGE, ModelUnavailableError("529", retry_after_s=9))
    assert [event for event in await role.events() if isinstance(event, ModelCalled)] == [ModelCalled(USAGE)] * 3
    with pytest.raises(ModelUnavailableError):
        await role.turn("b")
    assert (role.journal.usage_of("a").calls, role.journal.usage_of("b").calls) == (3, 1)


async def test_a_turn_that_failed_before_its_first_answer_is_not_in_the_conversation(desk: Opens) -> None:
    role = await desk(ModelUnavailableError("529", retry_after_s=9), says("Now."))
    with pytest.raises(ModelUnavailableError):
        await role.turn("a")
    await role.turn("a")
    assert texts(role) == ["work on a"]
    assert len(role.model.requests[1]) == 1


@pytest.mark.parametrize("max_steps", [1, 2, 4])
async def test_a_turn_has_only_so_many_steps_and_is_told_of_the_last(desk: Opens, max_steps: int) -> None:
    role = await desk(*[calls(("write", {})) for _ in range(9)], max_steps=max_steps)
    result = await role.turn()
    assert (result.end, result.outcome) == (TurnEnd.FINISHED, Outcome.FAILED)
    assert f"stopped after {max_steps} steps" in result.text
    assert len(role.model.requests) == max_steps
    told = ["last step" in " ".join(texts(role, n)) for n in range(max_steps)]
    assert told == [False] * (max_steps - 1) + [max_steps > 1]
    role.model.replies = [says("Next.")]
    await role.turn("b")
    assert results(role) == [("did ", False)]


async def test_the_steps_of_a_turn_are_counted_across_restarts(desk: Opens) -> None:
    role = await desk(*[calls(("write", {})) for _ in range(9)], max_steps=3)
    role.toolbox.after["write"] = [KeyError("bug"), KeyError("bug"), KeyError("bug")]
    for _ in range(3):
        with pytest.raises(KeyError):
            await role.turn()
        await role.restart()
    assert (await role.turn()).outcome is Outcome.FAILED
    assert len(role.model.requests) == 3


async def test_a_turn_that_comes_again_after_another_has_only_the_steps_that_are_left(desk: Opens) -> None:
    wrote = calls(("write", {}))
    role = await desk(wrote, SessionError("stumbled"), says("B."), wrote, wrote, max_steps=3)
    with pytest.raises(SessionError):
        await role.turn("a")
    await role.turn("b")
    assert (await role.turn("a")).outcome is Outcome.FAILED
    assert role.model.replies == []
    assert len(role.journal.answers("a")) == 3


async def test_nothing_is_asked_or_done_by_a_process_that_may_not_act(desk: Opens) -> None:
    role = await desk(calls(("write", {"text": "x"})), says("y"))

    async def forbidden() -> None:
        raise LeaseLostError("another process has the role")

    role.before_effect = forbidden
    with pytest.raises(LeaseLostError):
        await role.turn()
    assert role.model.requests == []

    async def until_the_answer() -> None:
        if role.model.requests:
            await forbidden()

    role.before_effect = until_the_answer
    with pytest.raises(LeaseLostError):
        await role.turn()
    assert (len(role.model.requests), role.toolbox.done) == (1, [])


async def test_a_process_that_stood_still_while_its_money_was_set_aside_asks_nothing_and_pays_nothing(
    desk: Opens,
) -> None:
    class Slow:
        """A meter that waits for the broker; meanwhile another process takes the role."""

        def __init__(self) -> None:
            self.settled: list[Usage | None] = []

        async def reserve(self, turn_id: str, *, input_tokens: int) -> None:
            role.before_effect = forbidden

        def settle(self, usage: Usage | None) -> None:
            self.settled.append(usage)

    async def forbidden() -> None:
        raise LeaseLostError("another process has the role")

    meter = Slow()
    role = await desk(says("y"), meter=meter)
    with pytest.raises(LeaseLostError):
        await role.turn()
    assert role.model.requests == [] and meter.settled == [Usage()]


# ── words of the host ──────────────────────────────────────────────────────────────────────────────
async def test_a_notice_stands_behind_the_results_of_the_next_step(desk: Opens) -> None:
    role = await desk(calls(("write", {"text": "x"})), calls(("write", {"text": "y"})), says("Yes."))

    async def inject(_: str) -> None:
        if not role.toolbox.done:
            assert await role.conversation.inject("Something urgent waits.")

    role.toolbox.during = inject
    await role.turn()
    assert [block["type"] for block in last_user_blocks(role.model.requests[1])] == ["tool_result", "text"]
    assert texts(role, 1) == ["<hub:notice>Something urgent waits.</hub:notice>"]
    assert texts(role, 2) == []


async def test_a_notice_is_refused_if_no_turn_runs_and_never_reaches_the_next(desk: Opens) -> None:
    role = await desk(says("One."), calls(("write", {})), says("Two."))
    assert not await role.conversation.inject("too early")
    turn = role.conversation.turn(Prompt("x", task()), turn_id="a")
    async for event in turn:
        if isinstance(event, TextDelta):
            assert await role.conversation.inject("too late for this turn")
        if isinstance(event, TurnResult):
            assert not await role.conversation.inject("after the end")
    await role.turn("b")
    assert "hub:notice" not in str(role.model.requests)


async def test_a_turn_whose_end_nobody_waits_for_does_not_disturb_the_next(desk: Opens) -> None:
    role = await desk(says("One."), calls(("write", {})), says("Two."))
    abandoned = role.conversation.turn(Prompt("x", task()), turn_id="a")
    async for event in abandoned:
        if isinstance(event, TurnResult):
            break

    async def late(_: str) -> None:
        await abandoned.aclose()  # as the event loop does with what is forgotten, at some time
        assert await role.conversation.inject("seen")

    role.toolbox.during = late
    await role.turn("b")
    assert texts(role) == ["<hub:notice>seen</hub:notice>"]


async def test_leaving_a_turn_in_the_middle_closes_the_stream_of_the_model(desk: Opens) -> None:
    role = await desk(says("x"))
    closed: list[bool] = []

    async def endless(**_: object) -> Any:
        try:
            while True:
                yield TextDelta("and ")
        finally:
            closed.append(True)

    role.model.answer = endless  # type: ignore[method-assign]
    turn = role.conversation.turn(Prompt("x", task()), turn_id="a")
    await anext(turn)
    await turn.aclose()
    assert closed == [True]


async def test_notes_are_shown_with_the_next_turn_and_only_once(desk: Opens) -> None:
    role = await desk(SessionError("stumbled"), says("One."), says("Two."))
    role.journal.add_note("n1", "- reply from qa: all green")
    with pytest.raises(SessionError):
        await role.turn("a")
    for turn_id in ("a", "b"):
        await role.turn(turn_id)
    shown = "<hub:notes>\n- reply from qa: all green\n</hub:notes>\nwork on a"
    assert [texts(role, n) for n in range(3)] == [[shown], [shown], ["work on b"]]


# ── interrupting ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("at", ["write", "pay"])
async def test_an_interrupted_turn_ends_before_the_next_call_and_the_history_stays_valid(desk: Opens, at: str) -> None:
    role = await desk(calls(("write", {"text": "1"}), ("pay", {"text": "2"}), ("pay", {"text": "3"})), says("Next."))

    async def interrupt(name: str) -> None:
        if name == at:
            await role.conversation.interrupt()

    role.toolbox.during = interrupt
    assert (await role.turn("a")).end is TurnEnd.INTERRUPTED
    made = ["write", "pay"][: ["write", "pay"].index(at) + 1]
    assert [name for name, _, _ in role.toolbox.done] == made
    role.toolbox.during = None
    await role.turn("b")
    assert [is_error for _, is_error in results(role)] == [False] * len(made) + [True] * (3 - len(made))


async def test_an_interrupted_turn_goes_on_where_it_was(desk: Opens) -> None:
    role = await desk(calls(("pay", {"text": "1"}), ("pay", {"text": "2"})), says("Paid."))

    async def interrupt(_: str) -> None:
        await role.conversation.interrupt()
        role.toolbox.during = None

    role.toolbox.during = interrupt
    assert (await role.turn()).end is TurnEnd.INTERRUPTED
    await role.restart()
    assert (await role.turn()).text == "Paid."
    assert role.toolbox.texts("pay") == ["1", "2"]
    assert len(role.model.requests) == 2


async def test_an_interrupt_comes_after_the_answer_that_ends_the_turn_or_before_the_next(desk: Opens) -> None:
    role = await desk(says("Complete."), calls(("end", {"text": "over"})), says("New."))

    async def interrupting(turn_id: str, on: type) -> SessionEvent:
        async for event in role.conversation.turn(Prompt("x", task(turn_id)), turn_id=turn_id):
            if isinstance(event, on):
                await role.conversation.interrupt()
        return event

    assert await interrupting("a", TextDelta) == TurnResult(TurnEnd.STOPPED, text="Complete.")
    ended = await interrupting("b", ToolEnded)
    assert isinstance(ended, TurnResult)
    assert ended.end is TurnEnd.FINISHED
    await role.conversation.interrupt()  # no turn runs: the next one is not meant
    assert (await role.turn("c")).text == "New."


async def test_a_cancelled_turn_goes_on_where_it_was(desk: Opens) -> None:
    asked = asyncio.Event()

    async def never() -> Answer:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    role = await desk(calls(("pay", {"text": "x"})), never, says("Paid."))
    running = asyncio.create_task(role.turn())
    async with asyncio.timeout(30):
        await asked.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not await role.conversation.inject("anybody?")
    assert (await role.turn()).text == "Paid."
    assert role.toolbox.texts("pay") == ["x"]
