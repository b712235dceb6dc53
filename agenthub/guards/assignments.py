"""Who may give a role tasks: decided by the org chart, before its model is asked anything."""

from __future__ import annotations

from agenthub.errors import RefusedError
from agenthub.messages import Message
from agenthub.organization import Organization

ASSIGNMENT = "task_assignment"


def check_assignment(message: Message, role: str, organization: Organization) -> None:
    """Return if the org chart lets who sent a message ask it of a role.

    The operator, the hub and programs are not in the chart, and always may. A request to verify asks for a verdict on
    work of somebody else, and not for work.

    Raises:
        RefusedError: Says whom to ask instead.
    """
    sender = message.from_role
    is_task_of_a_role = message.type == ASSIGNMENT and not message.payload.verifies and sender in organization.roles
    if not is_task_of_a_role or sender in (role, organization.operator) or may_assign(sender, role, organization):
        return
    manager = organization.managers_chain(role)[0]
    among = organization.defaults.tasks_from
    who = "is not above it" if among == "managers" else "is neither above it nor next to it in the org chart"
    raise RefusedError(
        f"`{role}` takes no tasks from `{sender}`, who {who} (`defaults.tasks_from` is `{among}`). "
        + (f"Ask `{manager}`, to whom `{role}` reports, " if manager in organization.roles else "Ask your own manager ")
        + f"to have it done; tell `{role}` by `send` what needs no answer."
    )


def may_assign(sender: str, role: str, organization: Organization) -> bool:
    """True if one role may give another tasks: who is above it may, and who is next to it unless only managers may."""
    among = organization.defaults.tasks_from
    if among == "anyone" or sender in organization.managers_chain(role):
        return True
    is_next = sender in organization.colleagues(role) or sender in organization.reports(role)
    return among == "colleagues" and is_next
