"""A session that is shown what others learned: hints with a new task, and what its own work may teach others.

It stands before any session and changes nothing but the words of a prompt. The loop does not know of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from agenthub.learning.candidates import Watch
from agenthub.learning.learner import Learner
from agenthub.messages import Outcome
from agenthub.org.own_work import Step
from agenthub.sessions import prompts
from agenthub.sessions.session import (
    ContextInfo,
    Prompt,
    Session,
    SessionEvent,
    ToolEnded,
    ToolStarted,
    TurnEnd,
    TurnResult,
)


class TaughtSession:
    """A session whose prompts carry what fits of what the role has learned."""

    def __init__(self, session: Session, learner: Learner, watch: Watch) -> None:
        self._session, self._learner, self._watch = session, learner, watch

    async def start(self) -> None:
        await self._session.start()

    async def turn(self, prompt: Prompt, *, turn_id: str) -> AsyncGenerator[SessionEvent]:
        what = ""
        async with aclosing(self._session.turn(self._taught(prompt), turn_id=turn_id)) as events:
            async for event in events:
                match event:
                    case ToolStarted(_, summary):
                        what = summary
                    case ToolEnded(name, _, is_error):
                        self._watch.acted(prompt.task, Step(name, what, is_error))
                    case TurnResult(end, outcome) if end in (TurnEnd.FINISHED, TurnEnd.STOPPED):
                        # Looked at while others are waited for: nobody who asked waits for that.
                        ended = partial(self._watch.ended, prompt.task, is_done=outcome is Outcome.DONE)
                        asyncio.get_running_loop().call_soon(ended)
                    case _:
                        pass
                yield event

    def _taught(self, prompt: Prompt) -> Prompt:
        if prompt.goes_on:  # the task was shown before, with its hints
            return prompt
        task = prompt.task
        found = self._learner.hints(task.id, f"{task.payload.subject} {task.payload.message}")
        hints = [
            prompts.Hint(
                one.id, ", ".join(one.authors), one.learning.trigger, one.learning.approach, one.learning.outcome
            )
            for one in found
        ]
        candidate = self._watch.begins(task)
        texts = [prompt.text]
        if hints:
            texts.append(prompts.hinted(hints))
        if candidate is not None:
            texts.append(prompts.candidate(candidate.text, candidate.task))
        return prompt._replace(text="\n".join(texts))

    async def inject(self, notice: str) -> bool:
        return await self._session.inject(notice)

    async def interrupt(self) -> None:
        await self._session.interrupt()

    async def context(self) -> ContextInfo:
        return await self._session.context()

    async def close(self) -> None:
        self._watch.close()
        await self._session.close()
