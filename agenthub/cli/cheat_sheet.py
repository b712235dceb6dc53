"""The commands that one needs most."""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """One line of the sheet."""

    topic: str
    command: str
    what: str


SHEET = (
    Line("begin", "agenthub init", "write an organization to begin with"),
    Line("begin", "agenthub roles import .claude/agents", "or take the agents that you have"),
    Line("begin", "agenthub up -d --wait --rehearse", "start it on the rehearsal model: no key, no cost"),
    Line("begin", "agenthub down", "each role finishes its message, then all stops"),
    Line("talk", 'agenthub send ceo "Ship dark mode" --wait', "give a directive, print the report"),
    Line("talk", 'agenthub ask qa "Is 1.9 safe to ship?"', "ask, wait, print the answer"),
    Line("talk", 'agenthub broadcast "Freeze at noon" --to @cto', "tell a team"),
    Line("talk", 'agenthub publish status.deploy "1.9 is out"', "say it on a topic"),
    Line("talk", "agenthub approvals", "what waits for your yes; then approve, reject, reply"),
    Line("see", "agenthub ps", "who does what, since when, what waits, what it cost"),
    Line("see", "agenthub tail -f", "what happens"),
    Line("see", "agenthub attach backend", "what one role says and does, as it streams"),
    Line("see", "agenthub trace 1b2c", "all that became of a message"),
    Line("see", "agenthub pending", "who owes whom an answer"),
    Line("see", "agenthub cost --by trace", "what each directive took"),
    Line("fix", "agenthub doctor", "what is wrong, why, and what to do"),
    Line("fix", "agenthub dlq ls", "what was buried; then dlq show, dlq replay"),
    Line("fix", "agenthub budget allow backend usd_day=2", "more money for today"),
    Line("fix", "agenthub logs backend -f", "the log of a role's process"),
    Line("programs", "agenthub ps --json=role,state", "JSON, of these fields"),
    Line("programs", "agenthub schema ps", "what that JSON is"),
    Line("programs", "agenthub listen you", "messages to the operator, a line of JSON each"),
    Line("programs", "claude mcp add agenthub -- agenthub mcp", "the hub in your own Claude Code"),
)
