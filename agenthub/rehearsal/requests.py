"""What a client may send: the fields of a request, and the rules that the real API enforces on them.

Rules and wording after the public documentation of the Messages API; a client that passes here should not
meet its first 400 in production.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from agenthub.errors import AgenthubError

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_CACHE_MARKS = 4
NO_SAMPLING_SINCE = "2026-10-21"
"""From this API version on, temperature and its kin are refused."""

Block: TypeAlias = dict[str, Any]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(AgenthubError):
    """What the endpoint answers instead of a message: a status and a body as the API words it."""

    def __init__(
        self, status: int, message: str, *, error_code: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.error_code, self.retry_after_s = status, message, error_code, retry_after_s

    def body(self, request_id: str) -> dict[str, Any]:
        return error_body(_TYPES.get(self.status, "api_error"), self.message, request_id, self.error_code)


def error_body(kind: str, message: str, request_id: str, error_code: str | None = None) -> dict[str, Any]:
    """An error in the shape of the API, for a response or for an `error` event."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if error_code:
        error["details"] = {"error_code": error_code}
    return {"type": "error", "error": error, "request_id": request_id}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CacheMark(_Strict):
    """A cache breakpoint and how long what it writes is kept."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class Diagnostics(_Strict):
    """Asks why the cached prefix of an earlier request could not be used."""

    previous_message_id: str | None = None


class Tool(BaseModel):
    """A tool that is offered; tools of the provider have a `type` and no schema."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    type: str | None = None
    input_schema: dict[str, Any] | None = None
    cache_control: CacheMark | None = None


class Turn(_Strict):
    """One message of the conversation as sent."""

    role: Literal["user", "assistant", "system"]
    content: Any
    output_config: dict[str, Any] | None = None  # Claude Code sets the effort of a single turn with it

    def blocks(self) -> list[Block]:
        """Content as blocks; a bare string is one text block."""
        return [{"type": "text", "text": self.content}] if isinstance(self.content, str) else list(self.content)


class ToolChoice(BaseModel):
    """Whether the model may, must or must not use a tool."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)
    type: Literal["auto", "any", "tool", "none"]


class MessagesRequest(_Strict):
    """A request to `/v1/messages`; fields that the playbook does not read are only checked for their type."""

    model: str = Field(min_length=1)
    messages: list[Turn] = Field(min_length=1)
    max_tokens: int = Field(ge=0)
    system: Any = None
    tools: list[Tool] = Field(default_factory=list)
    tool_choice: ToolChoice | None = None
    stream: bool = False
    cache_control: CacheMark | None = None
    diagnostics: Diagnostics | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    service_tier: str | None = None
    speed: str | None = None
    container: Any = None
    inference_geo: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def system_blocks(self) -> list[Block]:
        """System prompt as text blocks; an empty string is none."""
        if isinstance(self.system, str):
            return [{"type": "text", "text": self.system}] if self.system else []
        return list(self.system or [])


class MergedTurn(NamedTuple):
    """Neighbouring messages of one role, which the API reads as one."""

    role: str
    blocks: list[Block]


def merged(turns: list[Turn]) -> list[MergedTurn]:
    """The conversation with neighbouring messages of one role put together."""
    result: list[MergedTurn] = []
    for turn in turns:
        if result and result[-1].role == turn.role:
            result[-1].blocks.extend(turn.blocks())
        else:
            result.append(MergedTurn(turn.role, turn.blocks()))
    return result


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises:
        ApiError: 400 if it is not JSON, or not an object.
    """
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"The request body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(400, f"The request body must be a JSON object; found {type(value).__name__}")
    return value


def read(value: dict[str, Any], *, version: str, counting: bool = False) -> MessagesRequest:
    """Request in `value`, checked as the API does. With `counting`, `max_tokens` may be missing.

    Raises:
        ApiError: 400 with the place and the reason.
    """
    try:
        request = MessagesRequest.model_validate({"max_tokens": 0, **value} if counting else value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ApiError(400, f"{where}: {first['msg']}") from error
    for name in ("temperature", "top_p", "top_k"):
        if version >= NO_SAMPLING_SINCE and name in value:
            raise ApiError(400, f"{name}: Extra inputs are not permitted since version {NO_SAMPLING_SINCE}")
    _check_tools(request)
    _check_content(request)
    _check_turns(request)
    _check_marks(request)
    return request


def _check_tools(request: MessagesRequest) -> None:
    names: set[str] = set()
    for index, tool in enumerate(request.tools):
        if tool.name in names:
            raise ApiError(400, "tools: Tool names must be unique.")
        names.add(tool.name)
        if tool.type in (None, "custom") and tool.input_schema is None:
            raise ApiError(400, f"tools.{index}.input_schema: Field required")


def _check_content(request: MessagesRequest) -> None:
    if not isinstance(request.system, str | list | None):
        raise ApiError(400, "system: Input should be a valid string or a list of text blocks")
    for index, block in enumerate(request.system_blocks()):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise ApiError(400, f"system.{index}: Input should be a text block")
        _check_block(f"system.{index}", block)
    for index, turn in enumerate(request.messages):
        where = f"messages.{index}.content"
        if not isinstance(turn.content, str | list):
            raise ApiError(400, f"{where}: Input should be a valid string or a list of blocks")
        if not turn.content:
            raise ApiError(400, f"messages.{index}: all messages must have non-empty content")
        for at, block in enumerate(turn.blocks()):
            _check_block(f"{where}.{at}", block)


def _check_block(where: str, block: object) -> None:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise ApiError(400, f"{where}: Input should be an object with a `type`")
    fields: dict[str, type | tuple[type, ...]] = {}
    match block["type"]:
        case "text":
            fields = {"text": str}
        case "tool_use":
            fields = {"id": str, "name": str, "input": dict}
        case "tool_result":
            fields = {"tool_use_id": str}
            content = block.get("content")
            if not isinstance(content, str | list | None):
                raise ApiError(400, f"{where}.content: Input should be a valid string or a list of blocks")
            if not isinstance(block.get("is_error"), bool | None):
                raise ApiError(400, f"{where}.is_error: Input should be a valid boolean")
            for at, inner in enumerate(content if isinstance(content, list) else []):
                _check_block(f"{where}.content.{at}", inner)
    for name, kind in fields.items():
        if name not in block:
            raise ApiError(400, f"{where}.{block['type']}.{name}: Field required")
        if not isinstance(block[name], kind):
            raise ApiError(400, f"{where}.{block['type']}.{name}: Input should be a valid {kind.__name__}")  # type: ignore[union-attr]
    if block["type"] == "text" and not block["text"].strip():
        raise ApiError(400, f"{where}: text content blocks must contain non-whitespace text")


def _check_turns(request: MessagesRequest) -> None:
    turns = merged(request.messages)
    if turns[0].role != "user":
        raise ApiError(400, 'messages: first message must use the "user" role')
    if turns[-1].role == "assistant":
        raise ApiError(
            400,
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )
    seen: set[str] = set()
    asked: list[str] = []
    for index, turn in enumerate(turns):
        answered = [block["tool_use_id"] for block in turn.blocks if block["type"] == "tool_result"]
        for identity in asked:
            if turn.role != "user" or identity not in answered:
                raise ApiError(
                    400,
                    f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                    f"{identity}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
                    "message.",
                )
        for identity in answered:
            if identity not in asked or turn.role != "user":
                raise ApiError(
                    400,
                    f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {identity}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message.",
                )
        if len(answered) != len(set(answered)):
            raise ApiError(400, f"messages.{index}: each tool_use must have a single result")
        kinds = [block["type"] for block in turn.blocks]
        if answered and kinds.index("tool_result") > 0:
            raise ApiError(400, f"messages.{index}: `tool_result` blocks must come first in the content")
        asked = [block["id"] for block in turn.blocks if block["type"] == "tool_use"]
        if len(asked) != len(set(asked)) or seen & set(asked):
            raise ApiError(400, f"messages.{index}: `tool_use` ids must be unique")
        if asked and turn.role != "assistant":
            raise ApiError(400, f"messages.{index}: `tool_use` blocks can only be in `assistant` messages")
        seen.update(asked)


def _marks(request: MessagesRequest) -> Iterator[CacheMark]:
    """Every cache breakpoint in the order of the prefix: tools, system, messages, the automatic one."""
    for tool in request.tools:
        if tool.cache_control:
            yield tool.cache_control
    for block in request.system_blocks():
        yield from _block_marks(block)
    for turn in request.messages:
        for block in turn.blocks():
            yield from _block_marks(block)
    if request.cache_control:
        yield request.cache_control


def _block_marks(block: Block) -> Iterator[CacheMark]:
    inner = block.get("content")
    for part in inner if isinstance(inner, list) else []:
        if isinstance(part, dict):
            yield from _block_marks(part)
    if block.get("cache_control") is not None:
        try:
            yield CacheMark.model_validate(block["cache_control"])
        except ValidationError as error:
            raise ApiError(400, f"cache_control: {error.errors(include_url=False)[0]['msg']}") from error


def _check_marks(request: MessagesRequest) -> None:
    marks = list(_marks(request))
    if len(marks) > MAX_CACHE_MARKS:
        raise ApiError(
            400, f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided. Found {len(marks)}."
        )
    lengths = [mark.ttl for mark in marks]
    if "5m" in lengths and "1h" in lengths[lengths.index("5m") :]:
        raise ApiError(400, "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
