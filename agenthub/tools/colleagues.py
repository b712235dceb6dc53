"""A tool to find who is best at something, by how work ended. Not in the list of colleagues: that must not change."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field

from agenthub.org.reputation import ALL, NOTHING
from agenthub.org.track_record import TrackRecord
from agenthub.organization import Organization
from agenthub.sessions.session import Tool, ToolCall, ToolOutcome

_MOST = 8
_WORD = re.compile(r"[a-z0-9_-]{2,}")


class FindColleague(BaseModel):
    model_config = ConfigDict(extra="forbid")
    work: str = Field(description="The work in a few words, or a skill.", min_length=2, max_length=300)


def colleague_tools(organization: Organization, role: str, record: TrackRecord) -> list[Tool]:
    """The tool by which a role chooses whom to ask."""

    async def find_colleague(arguments: FindColleague, call: ToolCall) -> ToolOutcome:
        words = set(_WORD.findall(arguments.work.lower()))
        scores = await record.scores()
        found = []
        for name, other in organization.roles.items():
            skills = [skill for skill in other.settings.skills if skill.lower() in words]
            fits = len(skills) + len(words & set(_WORD.findall(other.summary.lower()))) / 10
            mine = scores.get(name, {})
            score = max((mine[skill] for skill in skills if skill in mine), key=lambda one: one.value, default=None)
            score = score or mine.get(ALL, NOTHING)
            if name != role and fits:
                found.append((-fits, -score.value, name, skills, score))
        lines = []
        for _, _, name, skills, score in sorted(found)[:_MOST]:
            about = f", skills: {', '.join(skills)}" if skills else ""
            verified = f", {score.verified} of them verified" if score.verified else ""
            rejected = f", {score.rejected} rejected" if score.rejected else ""
            lines.append(
                f"- {name}: {score.value:.0%} ({score.done} done and shown{verified}, {score.failed} failed, "
                f"{score.reworked} asked for again{rejected}){about}"
            )
        text = "How their work ended in the last 30 days; 50 % is unknown:\n" + "\n".join(lines)
        return ToolOutcome(text if lines else "Nobody here has that among their skills.", summary=f"{len(lines)} found")

    return [
        Tool(
            "find_colleague",
            "See who is fit for some work, and how well such work of theirs ended. Before you delegate, if more than "
            "one could do it.",
            FindColleague, find_colleague,
            describe=lambda a: a.work[:60],
        )
    ]  # fmt: skip
