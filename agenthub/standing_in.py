"""Who does the work of a role that is left alone for a while: its fallback, if that is there and not left alone too."""

from __future__ import annotations

from agenthub.breakers import Breakers, role_key
from agenthub.org.registry import Registry
from agenthub.organization import Organization


async def stand_in_for(role: str, organization: Organization, breakers: Breakers, registry: Registry) -> str:
    """Name of the role that stands in for `role` now; empty: nobody does, and what is asked of it waits."""
    fallback = organization.role(role).settings.fallback or ""
    if fallback not in organization.roles or not breakers.is_closed(role_key(fallback)):
        return ""
    beats = await registry.all()
    return fallback if any(key == fallback or key.startswith(f"{fallback}.") for key in beats) else ""
