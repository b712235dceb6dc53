"""All views, and the screens that open over them."""

from __future__ import annotations

from collections.abc import Iterator

from agenthub.tui.approvals_view import ApprovalsView
from agenthub.tui.cost_view import CostView
from agenthub.tui.dead_view import DeadView
from agenthub.tui.events_view import EventsView
from agenthub.tui.inbox_view import InboxView
from agenthub.tui.learnings_view import LearningsView
from agenthub.tui.message_view import MessageView
from agenthub.tui.role_view import RoleView
from agenthub.tui.schedules_view import SchedulesView
from agenthub.tui.view import View

__all__ = ["DeadView", "EventsView", "MessageView", "RoleView", "more_views"]


def more_views() -> Iterator[View]:
    """The views behind the first one, in their order."""
    yield InboxView()
    yield EventsView()
    yield ApprovalsView()
    yield DeadView()
    yield LearningsView()
    yield SchedulesView()
    yield CostView()
