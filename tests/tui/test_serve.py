"""The terminal UI in a browser: who may not come in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, CookieJar, WSServerHandshakeError

from agenthub.tui.serve import serve


@contextlib.asynccontextmanager
async def served(*arguments: str) -> AsyncIterator[str]:
    """The address, with its token."""
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(arguments, host="127.0.0.1", port=0, title="acme", stop=stop, ready=address.set_result)
    )
    try:
        async with asyncio.timeout(20):
            yield await address
    finally:
        stop.set()
        await serving


async def test_nobody_comes_in_without_the_token_by_another_name_or_from_another_page() -> None:
    async with (
        served() as address,
        ClientSession() as stranger,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as person,
    ):
        base, token = address.split("/?token=")
        there = f"{base}/?token={token}"
        refused = [
            (base, {}), (f"{base}/?token=x", {}), (f"{base}/static/js/textual.js", {}), (f"{base}/ws", {}),
            (there, {"Host": "evil.example"}), (there, {"Host": f"localhost:{base.rpartition(':')[2]}"}),
            (there, {"Origin": "https://evil.example"}), (there, {"Origin": "null"}),
            (there, {"Sec-Fetch-Site": "cross-site"}),
        ]  # fmt: skip
        for url, headers in refused:
            async with stranger.get(url, headers=headers, allow_redirects=False) as answer:
                assert (answer.status, token in await answer.text()) == (403, False), (url, headers)
        assert not list(stranger.cookie_jar)
        async with person.get(there) as page:
            assert (page.status, str(page.url)) == (200, f"{base}/")
            assert token not in await page.text()
        (cookie,) = list(person.cookie_jar)
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
        assert token not in cookie.value
        for origin in ("https://evil.example", None):  # a websocket of another page brings the cookie as well
            with pytest.raises(WSServerHandshakeError, match="403"):
                await person.ws_connect(f"{base}/ws", headers={} if origin is None else {"Origin": origin})
