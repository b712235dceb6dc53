"""The rehearsal model without HTTP: bytes of a request in, a message and how to send it out."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agenthub.rehearsal import cache, catalog, frames, playbook, requests, streaming
from agenthub.rehearsal.faults import Fault, Faults
from agenthub.rehearsal.requests import ApiError, MessagesRequest

_JOURNAL_LENGTH = 10_000
_CUT_SHORT = ("max_tokens", "model_context_window_exceeded", "refusal")
_JOURNAL_TEXT = 2000


class Answered(NamedTuple):
    """A message and how it is to be sent."""

    message: dict[str, Any]
    stream: bool
    stream_s: float | None
    """Seconds that sending must take. None: at the speed of the endpoint."""
    fault: Fault | None
    request_id: str


class RehearsalModel:
    """Answers requests, and keeps what the real API keeps beside them: the prefix cache.

    The journal and the faults are for tests and trials. Nothing here depends on how a request came in.
    """

    def __init__(self, *, seed: int, clock: Callable[[], float]) -> None:
        self._seed = seed
        self._cache = cache.PrefixCache(clock)
        self._requests = 0
        self.faults = Faults()
        self.journal: deque[dict[str, Any]] = deque(maxlen=_JOURNAL_LENGTH)
        """Requests to `/v1/messages` that were seen, oldest first. `prompt` is the same for the same question."""

    def new_request_id(self) -> str:
        self._requests += 1
        return f"req_{self._requests:08d}"

    def count(self, body: bytes, *, version: str) -> int:
        """Tokens of the prompt in a request.

        Raises:
            ApiError: 400 or 404 if the request is wrong.
        """
        request = requests.read(requests.read_json(body), version=version, counting=True)
        _model_of(request)
        return cache.prompt_of(request).total_tokens

    def answer(self, body: bytes, *, version: str) -> Answered:
        """The message that answers a request, noted in the journal.

        Raises:
            ApiError: If the request is wrong, or a fault says so.
        """
        entry = {"id": self.new_request_id(), "at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        noted: dict[str, Any] = entry | {"role": "", "model": "", "last_user_text": "", "status": 200, "usage": None}
        self.journal.append(noted)
        try:
            request = requests.read(requests.read_json(body), version=version)
            answered = self._answer(request, noted)
        except ApiError as error:
            noted["status"] = error.status
            raise
        noted["usage"] = answered.message["usage"]
        return answered

    def _answer(self, request: MessagesRequest, noted: dict[str, Any]) -> Answered:
        text = frames.last_user_text(request)
        place = frames.place_of("\n".join(block["text"] for block in request.system_blocks()))
        role = place.me.name if place else ""
        noted |= {"role": role, "model": request.model, "last_user_text": text[:_JOURNAL_TEXT]}
        model, prompt = _model_of(request), cache.prompt_of(request)
        noted["prompt"] = prompt.digests[-1].hex() if prompt.digests else ""
        if prompt.total_tokens > model.max_input_tokens:
            raise ApiError(400, f"prompt is too long: {prompt.total_tokens} tokens > {model.max_input_tokens} maximum")
        fault = self.faults.take(text, role)
        if fault and fault.status:
            raise ApiError(fault.status, fault.message, error_code=fault.error_code, retry_after_s=fault.retry_after)
        if fault and fault.error_in_stream and not request.stream:
            raise ApiError(529 if fault.error_in_stream == "overloaded_error" else 500, fault.message)

        reply = playbook.play(frames.with_plain_names(request), self._seed)
        offered = frames.offered_names(request)
        calls = tuple(call._replace(tool=offered.get(call.tool, call.tool)) for call in reply.calls)
        reply = reply._replace(calls=calls)
        identity = self._fingerprint(prompt, request)
        content, stop_reason = _content(reply, identity, request.max_tokens, fault)
        message = {
            "id": f"msg_{identity}",
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": self._cache.account(prompt).fields()
            | {"output_tokens": streaming.output_tokens(content), "service_tier": "standard"},
        }
        if request.diagnostics:
            message["diagnostics"] = self._cache.diagnose(request.diagnostics.previous_message_id, prompt)
        self._cache.remember(str(message["id"]), prompt)
        return Answered(message, request.stream, reply.stream_s, fault, str(noted["id"]))

    def _fingerprint(self, prompt: cache.Prompt, request: MessagesRequest) -> str:
        """Stands for seed and content, so that the same request is answered by the same message."""
        text = json.dumps([self._seed, request.max_tokens, [digest.hex() for digest in prompt.digests[-1:]]])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def _model_of(request: MessagesRequest) -> catalog.Model:
    model = catalog.find(request.model)
    if model is None:
        raise ApiError(404, f"model: {request.model}")
    if request.max_tokens > model.max_tokens:
        raise ApiError(
            400,
            f"max_tokens: {request.max_tokens} > {model.max_tokens}, which is the maximum allowed number of output "
            f"tokens for {request.model}",
        )
    return model


def _content(
    reply: playbook.Reply, identity: str, max_tokens: int, fault: Fault | None
) -> tuple[list[dict[str, Any]], str]:
    """Blocks of the message and why it stops; cut where `max_tokens` or a fault says so."""
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    for number, call in enumerate(reply.calls):
        content.append(
            {"type": "tool_use", "id": f"toolu_{identity}{number:02d}", "name": call.tool, "input": call.input}
        )
    forced = fault.stop_reason if fault else None
    if max_tokens < streaming.output_tokens(content) or forced in _CUT_SHORT:
        room = max_tokens if forced is None else max(1, len(reply.text) // 8)
        text = (reply.text or "I go on")[: room * cache.CHARACTERS_PER_TOKEN]
        return [{"type": "text", "text": text}] if text.strip() else [], forced or "max_tokens"
    return content, forced or ("tool_use" if reply.calls else "end_turn")
