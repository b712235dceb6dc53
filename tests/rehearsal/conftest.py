from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from anthropic import AsyncAnthropic

from agenthub.rehearsal import Endpoint, start_rehearsal


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def endpoint(clock: Clock) -> AsyncIterator[Endpoint]:
    """An endpoint of this test's own that does not wait."""
    async with start_rehearsal(seed=7, speed=0, clock=clock) as endpoint:
        yield endpoint


@pytest.fixture
async def client(endpoint: Endpoint) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=endpoint.url, api_key="rehearsal", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
async def http(endpoint: Endpoint) -> AsyncIterator[httpx2.AsyncClient]:
    """Plain HTTP, for what the SDK would not send."""
    headers = {"x-api-key": "rehearsal", "anthropic-version": "2023-06-01"}
    async with httpx2.AsyncClient(base_url=endpoint.url, headers=headers, timeout=20) as http:
        yield http
