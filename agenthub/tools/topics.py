"""The tool to publish on a topic: what everybody may, what managers may, and what a person has granted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from agenthub import subjects
from agenthub.coordination import Coordination
from agenthub.errors import RefusedError
from agenthub.grants import Grant, covers_topic
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

_FOR_ALL = (subjects.status_topic(""), subjects.topic("tasks."))


class Publish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    topic: str = Field(
        max_length=200, description="`decisions.api`, `tasks.sql`, `status.deploy` or `announcements`.",
        pattern=r"^(?:agent-hub\.)?(?:topics\.|global\.)?(?:announcements|(?:tasks|decisions|status)(?:\.[A-Za-z0-9_-]+)+)$",
    )  # fmt: skip
    text: str = Field(min_length=1, max_length=20_000)


def topic_tools(coordination: Coordination, *, is_manager: bool, granted: Callable[[], Sequence[Grant]]) -> list[Tool]:
    """The tool `publish`. It may be repeated: its message has a derived id.

    Args:
        granted: Topics on which a person lets the role publish at this moment; the broker enforces the same.
    """

    async def publish(arguments: Publish, call: ToolCall) -> ToolOutcome:
        subject = subjects.topic(arguments.topic)
        if not (is_manager or subject.startswith(_FOR_ALL) or covers_topic(granted(), subject)):
            raise RefusedError(
                f"On {arguments.topic} managers publish. Ask your manager to, or ask for a grant: `request_grant` with "
                f"kind `topic` and what `{arguments.topic}`."
            )
        await coordination.publish(subject, arguments.text, about=call.task, key=call.key)
        return ToolOutcome(f"Published on {subject}.", summary=f"on {arguments.topic}")

    return [
        Tool(
            "publish", "Publish on a topic, for all who subscribe to it: a decision, work for whoever has a skill, an "
            "announcement. Decisions and announcements are for managers, and for whom a person let.",
            Publish, publish, describe=lambda a: f"{a.topic}: {a.text}"[:80],
        )
    ]  # fmt: skip
