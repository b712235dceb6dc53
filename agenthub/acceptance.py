"""Is it done? What a task demands besides the doer's word: a check that passes, evidence, somebody else's approval.

`judge` stands before the end of a task: the tool `finish` asks it, and the loop for a model that just stopped talking.
A check is run once for each `finish`; its result is in the journal before anything is made of it. A verifier is asked
as in any delegation: the task is parked, and goes on, or ends, by `resumed` with the answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from agenthub.approvals import Approval
from agenthub.asks import Ask, Request
from agenthub.coordination import Coordination
from agenthub.errors import RefusedError
from agenthub.failpoints import Failpoint, reach
from agenthub.messages import Attachment, Check, Message, Outcome
from agenthub.organization import Organization
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import ToolCall, TurnEnd, TurnResult
from agenthub.verification import ACCEPT, AGAIN, CHOICES, MAX_REJECTIONS, Verification, is_rejection

MAX_CHECKS = 3
"""A task whose check failed so often has failed."""
_STOPPED = 1_000_000
"""Number, among the calls of a turn, of the end that a model comes to without calling `finish`."""
_CHECK, _VERDICT = "check", "verdict"
"""Names of what the journal keeps among the steps of a turn. Their numbers are below those of tool calls."""
_VERDICT_NUMBER = -2
_MAX_FILES = 20

RunCheck: TypeAlias = Callable[[str, ToolCall], Awaitable[Check]]
"""Runs a shell command in the workspace of the task; says why, if the role may not."""
Attach: TypeAlias = Callable[[list[str], ToolCall], Awaitable[tuple[Attachment, ...]]]


class Rework(NamedTuple):
    """It is not done yet: what the model is told."""

    text: str
    check: Check


class Acceptance:
    """What tasks of one role must show before they count as done."""

    def __init__(
        self,
        role: str,
        organization: Organization,
        *,
        journal: Journal,
        coordination: Coordination,
        run_check: RunCheck,
        attach: Attach,
        verify_within_s: float,
        decide_within_s: float,
    ) -> None:
        """The acceptance of one role's work.

        Args:
            attach: Stores a file of the workspace for the verifier.
            verify_within_s: How long a verifier gets; then the work is unverified.
            decide_within_s: How long a person gets.
        """
        self._role, self._organization, self._journal = role, organization, journal
        self._coordination, self._run_check, self._attach = coordination, run_check, attach
        self._verify_within_s, self._decide_within_s = verify_within_s, decide_within_s

    async def judge(self, result: TurnResult, call: ToolCall) -> TurnResult | Rework:
        """How a task ends of which the model says `result`; the same after a crash, for the same call."""
        task, verifier = call.task, self._verifier(call.task)
        if task.is_poll:
            return result
        if result.outcome is not Outcome.DONE or not (task.payload.demands_proof or verifier):
            return result
        missing: list[str] = []
        if task.payload.check:
            check = await self._checked(task.payload.check, call)
            if check is None:
                return Rework("The check was interrupted. Finish again.", Check(command=task.payload.check))
            if check.exit_code is None:
                missing.append(check.words)
            elif not check.has_passed:
                return self._failed(result, check, task)
            result = replace(result, check=check)
        if task.payload.needs_evidence and not result.evidence:
            missing.append("no evidence was given")
        if verifier:
            problem = self._cannot_verify(verifier)
            if not problem:
                return await self._claim(result, verifier, call)
            missing.append(problem)
        return _unverified(result, "; ".join(missing)) if missing else result

    async def ended(self, task: Message, turn_id: str, result: TurnResult, *, besides: Ask | None) -> TurnResult:
        """How a turn ends that ended in `result`: a model that just stopped talking has shown nothing yet."""
        if result.end is not TurnEnd.STOPPED or self._coordination.waits(task.id, besides=besides):
            return result
        if task.payload.verifies:
            return _unverified(result, "the verifier stopped without a verdict")
        judged = await self.judge(result, ToolCall(f"{turn_id}~{_STOPPED}", task))
        if isinstance(judged, Rework):
            text = f"{result.text}\n\n{judged.text}".strip()
            return TurnResult(TurnEnd.FINISHED, Outcome.FAILED, text, result.evidence, judged.check)
        return judged

    async def resumed(self, task: Message, turn_id: str, ask: Ask | None) -> TurnResult | None:
        """How a task ends now that its claim was looked at; None if the model is to go on."""
        if ask is None or ask.verification is None:
            return None
        claim, part = ask.verification, ask.parts[0]
        claimed = TurnResult(TurnEnd.FINISHED, Outcome.DONE, claim.text, tuple(claim.evidence), claim.check)
        claimed = replace(claimed, attachments=tuple(claim.attachments))
        answer = part.answer
        if answer is None:
            return _unverified(claimed, f"`{part.role}` has not verified it by {ask.deadline:%Y-%m-%d %H:%M} UTC")
        if ask.approval is not None:
            if answer.outcome is Outcome.DONE and answer.text == ACCEPT:
                return replace(claimed, verified_by=part.role)
            if answer.outcome is Outcome.DONE and answer.text == AGAIN:
                self._journal.record_step(turn_id, _VERDICT_NUMBER, _VERDICT, {"rejections": []})
                return None
            if not claim.rejections:
                return _unverified(claimed, answer.text or "a person did not accept it")
            return replace(claimed, outcome=Outcome.FAILED, text=_rejected(claim.text, claim.rejections[-1]))
        if answer.outcome is Outcome.DONE:
            return replace(claimed, verified_by=part.role)
        if not is_rejection(answer.outcome):
            return _unverified(claimed, f"`{part.role}` could not verify it ({answer.outcome}): {answer.text}")
        claim = claim.model_copy(update={"rejections": [*claim.rejections, answer.text]})
        self._journal.record_step(turn_id, _VERDICT_NUMBER, _VERDICT, {"rejections": claim.rejections})
        if len(claim.rejections) < MAX_REJECTIONS:
            return None
        question = (
            f"`{part.role}` has rejected {MAX_REJECTIONS} times what `{self._role}` says is done: {task.title}\n\n"
            f"{_rejected(claim.text, answer.text)}"
        )
        return await self._ask_person(question, claim, ToolCall(f"{turn_id}~{_STOPPED}", task))

    # ── checks ─────────────────────────────────────────────────────────────────────────────────────
    async def _checked(self, command: str, call: ToolCall) -> Check | None:
        """What came of the check of one `finish`; None if it was interrupted. One that a crash cut off is run again:
        a check looks, it does not act."""
        if not self._may_name_a_check(call.task):
            who = call.task.from_role
            return Check(command=command, problem=f"was not run: `{who}` may not have `{self._role}` run commands")
        turn_id, _, number = call.key.rpartition("~")
        at = -1000 - int(number)
        known = self._journal.step(turn_id, at)
        if known is not None and known.result is not None:
            return Check.model_validate(known.result)
        check = await self._run_check(command, call)
        if call.interrupted.is_set() and not check.has_passed:
            return None
        reach(Failpoint.CHECK_RUN)
        self._journal.record_step(turn_id, at, _CHECK, check.model_dump(mode="json"))
        reach(Failpoint.CHECK_RECORDED)
        return check

    def _failed(self, result: TurnResult, check: Check, task: Message) -> TurnResult | Rework:
        known = [Check.model_validate(step) for step in self._journal.steps_of(task.id, _CHECK)]
        failed = sum(one.exit_code is not None and not one.has_passed for one in known)
        text = f"The check {check.words}:\n{check.output or '(no output)'}"
        if failed < MAX_CHECKS:
            return Rework(f"{text}\n\nIt is not done. Mend it and finish again ({failed} of {MAX_CHECKS}).", check)
        said = f"{result.text}\n\n{text}\n\nIt failed {failed} times."
        return TurnResult(TurnEnd.FINISHED, Outcome.FAILED, said, result.evidence, check)

    def _may_name_a_check(self, task: Message) -> bool:
        """True if who asks may instruct the role: a command is more than a request."""
        chain = self._organization.managers_chain(self._role)
        return not task.at_door and task.from_role in (self._organization.operator, *chain)

    # ── verifiers ──────────────────────────────────────────────────────────────────────────────────
    def _verifier(self, task: Message) -> str:
        """Who is to verify a task; verifying is not verified again."""
        if task.payload.verifies:
            return ""
        return task.payload.verify or self._organization.role(self._role).settings.verified_by or ""

    def _cannot_verify(self, verifier: str) -> str:
        if verifier == self._role:
            return f"`{verifier}` cannot verify its own work"
        if verifier not in (*self._organization.roles, self._organization.operator):
            return f"there is no `{verifier}` to verify it"
        return ""

    async def _claim(self, result: TurnResult, verifier: str, call: ToolCall) -> TurnResult:
        """Park the task until the verifier has looked."""
        before = self._journal.steps_of(call.task.id, _VERDICT)
        rejections = [str(text) for text in before[-1]["rejections"]] if before else []
        claim = Verification(
            text=result.text, evidence=list(result.evidence), check=result.check, rejections=rejections,
            attachments=list(result.attachments),
        )  # fmt: skip
        words = claim.words(call.task, self._role)
        if verifier == self._organization.operator:
            return await self._ask_person(words, claim, call)
        files = list(result.attachments)
        for item in result.evidence[:_MAX_FILES]:
            with contextlib.suppress(RefusedError):  # evidence may be anything; what is a file goes along
                files += await self._attach([item], call)
        request = Request(
            verifier, f"Verify: {call.task.title}"[:200], words, call.task.payload.priority, tuple(files),
            verifies=call.task.id,
        )  # fmt: skip
        await self._coordination.ask(
            [request], about=call.task, key=call.key, within_s=self._verify_within_s, verification=claim
        )
        return TurnResult(TurnEnd.PARKED, text=f"waits for {verifier} to verify it")

    async def _ask_person(self, question: str, claim: Verification, call: ToolCall) -> TurnResult:
        ask = await self._coordination.ask_person(
            Approval(kind="question", question=question, choices=CHOICES), about=call.task, key=call.key,
            within_s=self._decide_within_s, verification=claim,
        )  # fmt: skip
        return TurnResult(TurnEnd.PARKED, text=f"waits for {ask.parts[0].role} to decide whether it is done")


def _unverified(result: TurnResult, why: str) -> TurnResult:
    return replace(result, outcome=Outcome.COMPLETED_UNVERIFIED, text=f"{result.text}\n\nNot verified: {why}.".strip())


def _rejected(said: str, why: str) -> str:
    return f"{said}\n\nRejected: {why}".strip()
