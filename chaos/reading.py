"""Reads what a run left behind into a history: the broker's streams, the roles' journals, the files of effects."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
from pathlib import Path

from agenthub import subjects
from agenthub.bus.connection import Bus
from agenthub.bus.received import Received
from agenthub.errors import MessageError
from agenthub.messages import Completion, Event, Message
from chaos.history import Accepted, Alive, Begun, Buried, Effect, Ended, History, Merged, Opened, Recorded
from chaos.plan import ROLES

_TAG = re.compile(r"d\d{4}")
_ANSWER = re.compile(r'<hub:answer from="([^"]+)" outcome="[^"]*" subject="([^"]*)">')
_AGAIN = "You began with the next message before"
_PUT_OFF = re.compile(r"([\w~-]+) goes back for ")
_NEEDS_NO_END = ("reply", "task_result", "system_event")
_AUDIT = "agent-hub.audit."


async def read_broker(bus: Bus, history: History, *, operator: str, offered: set[str]) -> None:
    """Take in completions, dead letters, what was stored in inboxes, and signs of life.

    Args:
        offered: Tags of what was sent by strangers and not confirmed.
    """
    for received in await bus.history(subjects.DONE, subjects.ALL_DONE):
        done = Completion.decode(received.data)
        history.ended.append(Ended(done.message_id, done.role, done.outcome.value, done.ended_at.timestamp()))
        tag = _TAG.match(done.subject)
        # The audit may miss what a role sent just before a server died; what something caused was sent by somebody.
        if done.causation_id or (tag and tag[0] in offered):
            history.offered.add(done.message_id)
    for received in await bus.history(subjects.DEAD_LETTERS, f"{subjects.dead_letter('*')}"):
        letter = json.loads(received.data)
        if received.subject == subjects.dead_letter(letter["role"]):
            history.buried.append(Buried(letter["message_id"], letter["role"], letter["reason"]))
    for received in await bus.history(subjects.EVENTS, subjects.ALL_EVENTS):
        with contextlib.suppress(MessageError):
            event = Event.decode(received.data)
            if event.kind == "quarantined":
                history.left_alone.append(event.role)
            elif event.kind in ("ready", "taken", "step"):
                history.alive.append(Alive(event.role, event.at.timestamp()))
    for received in await bus.history(subjects.AUDIT, subjects.ALL_AUDIT):
        _read_stored(received, history, operator)


def _read_stored(received: Received, history: History, operator: str) -> None:
    """A message as it was stored in a lane; who put it there is the last token of the subject."""
    subject = received.subject.removeprefix(_AUDIT)
    found = re.fullmatch(r"agent-hub\.operators\.operator-([^.]+)\.inbox\.([^.]+)\.([^.]+)", subject)
    if found is None:
        return
    role, priority, sender = found.groups()
    with contextlib.suppress(MessageError):
        default_id = received.headers.get(subjects.ID) or "unknown"
        message = Message.read(received.data, default_id=default_id)
        if role != operator and message.type not in _NEEDS_NO_END and message.id != "unknown":
            sequence = int(received.headers.get("Nats-Sequence", 0))
            history.accepted.append(Accepted(message.id, role, sequence, priority, sender, "role", is_work=False))
        if sender == role or subjects.DOOR in received.headers or message.id == "unknown":
            return  # moved there from another door, or it has no id
        history.effects.append(Effect("message stored", message.id, role))
        said = hashlib.sha256(f"{message.payload.subject}\n{message.payload.message}".encode()).hexdigest()[:12]
        if message.causation_id:
            key = f"{sender} {message.type} because of {message.causation_id}: {said}"
            history.effects.append(Effect("message sent", key, role))


def read_folder(state: Path, effects: Path, history: History) -> None:
    """Take in the journals below `state` and the lines that effects left in files."""
    for role in ROLES:
        if (path := state / "journals" / f"{role}.db").exists():
            _read_journal(path, history)
        for log in (state / "logs").glob(f"{role}.log*"):
            history.put_off |= {(role, found) for found in _PUT_OFF.findall(log.read_text(errors="replace"))}
    for log in sorted(effects.glob("*.log")):
        for line in log.read_text().splitlines():
            at, process, key, *_ = line.split(" ", 3)
            history.effects.append(Effect("line appended", key, log.stem, int(process), float(at)))


def _read_journal(path: Path, history: History) -> None:
    role = path.stem
    with contextlib.closing(sqlite3.connect(path)) as db:
        for turn, message, at in db.execute("SELECT id, message_id, opened_at FROM turn"):
            history.alive.append(Alive(role, at))
            if turn == message:
                history.opened.append(Opened(role, message, at))
        rows = db.execute("SELECT role, turn_id, content, at, epoch FROM entry ORDER BY epoch, seq")
        position, conversation = 0, 0
        for who, turn, content, at, epoch in rows:
            history.alive.append(Alive(role, at))
            if epoch != conversation:  # the model gets what is handed over in one message with what is asked first
                conversation, position = epoch, -1
                history.begun.append(Begun(role, conversation, at))
            position += 1
            if who == "assistant":
                history.recorded.append(Recorded(role, position - 1, at, conversation))
            elif turn.endswith("~r") and _AGAIN not in content:
                texts = [block.get("text", "") for block in json.loads(content)]
                history.merged += [
                    Merged(role, turn, f"{turn}: {by}, {subject}")
                    for text in texts if text.startswith("<hub:answers") or "\n<hub:answers" in text
                    for by, subject in _ANSWER.findall(text)
                ]  # fmt: skip
