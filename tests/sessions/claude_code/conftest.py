from __future__ import annotations

import pytest

from tests.sessions.sessions import Kind


@pytest.fixture
def kind() -> Kind:
    """Which session an `office` has."""
    return "claude-code"
