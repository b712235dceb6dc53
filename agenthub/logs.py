"""Logs that people and machines can read: pretty on a terminal, else a JSON object per line.

Every line says which organization, role, message and trace it is about. No prompt and no whole body is ever
logged, and a secret that slips into a line is masked.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from agenthub.masking import Mask

if TYPE_CHECKING:
    from structlog.typing import Processor

LogFormat = Literal["auto", "json", "text"]

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
_CHATTY = ("httpx2", "httpcore2", "anthropic", "nats", "asyncio", "mcp", "apscheduler")
"""Libraries that log what they send at INFO or DEBUG, bodies included."""


def is_about(**fields: str) -> None:
    """Have each line of this task, and of the tasks that it starts, say so from now on; none: about nothing."""
    _ABOUT.set(fields)


def log_to_file(
    path: Path, level: str, *, form: LogFormat = "auto", bound: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Have everything logged written to a file that rotates: five of 10 MB.

    Args:
        form: `auto` is JSON here.
        bound: What every line says: org, role.
        secrets: Values that are masked wherever they stand, by their names; what looks like a key always is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=5)
    _configure(handler, level, form, bound or {}, Mask(secrets), is_terminal=False)


def log_to_stderr(
    level: str,
    *,
    form: LogFormat = "auto",
    bound: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> None:
    """Have everything logged written to stderr, as a container does. `auto`: pretty on a terminal, else JSON."""
    _configure(logging.StreamHandler(), level, form, bound or {}, Mask(secrets), is_terminal=sys.stderr.isatty())


def preload() -> None:
    """Import what the formatter needs, for processes that are forked."""
    import structlog  # noqa: F401


def readable(line: str) -> str:
    """A line of a log as people read it; a line that is no JSON as it is."""
    try:
        said = json.loads(line)
        text = f"{said.pop('timestamp')} {said.pop('level').upper():<7} {said.pop('logger')}: {said.pop('event')}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return line
    traceback = said.pop("exception", "")
    known = [f"{name}={said[name]}" for name in ("message_id", "trace_id") if name in said]
    return "  ".join([text, *known]) + (f"\n{traceback}" if traceback else "")


def _configure(
    handler: logging.Handler, level: str, form: LogFormat, bound: Mapping[str, str], mask: Mask,
    *, is_terminal: bool,
) -> None:  # fmt: skip
    handler.setFormatter(_formatter(form, bound, mask, is_terminal=is_terminal))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def _formatter(form: LogFormat, bound: Mapping[str, str], mask: Mask, *, is_terminal: bool) -> logging.Formatter:
    import structlog
    from structlog.dev import ConsoleRenderer, plain_traceback

    is_json = form == "json" or (form == "auto" and not is_terminal)

    def say_about(_: Any, __: str, line: Any) -> Any:
        return {**line, **bound, **_ABOUT.get()}

    def masked(_: Any, __: str, line: Any) -> Any:
        return {name: said(value) if isinstance(value, str) else value for name, value in line.items()}

    def said(text: str) -> str:
        text = mask(text)  # and in a line for people nothing may move the cursor or begin a line of its own
        return text if is_json else "".join(c if c.isprintable() else " " for c in text)

    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        say_about,
    ]
    # Tracebacks as Python prints them: the other ways show local variables, and prompts are some.
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        last += [structlog.processors.format_exc_info, masked, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        last += [masked, ConsoleRenderer(colors=is_terminal, exception_formatter=plain_traceback)]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last)
