"""Import nats-py without aiohttp.

It imports that library, for WebSocket connections, wherever it happens to be installed. We have none; it would cost
each command a tenth of a second and each role ten megabytes.
"""

from __future__ import annotations

import sys

if "aiohttp" not in sys.modules:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # who imports it now is told that it is not there
    try:
        import nats.aio.transport  # noqa: F401
    finally:
        del sys.modules["aiohttp"]
