"""The bus: the only room that imports nats."""

from agenthub.bus import without_websockets as _  # noqa: F401  # before any module here imports nats
