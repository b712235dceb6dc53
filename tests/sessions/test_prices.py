"""What a call costs: list prices, the organization's own, and what is assumed of a model that nobody knows."""

from __future__ import annotations

import logging

import pytest

from agenthub.messages import Usage
from agenthub.organization_file import Price
from agenthub.sessions.prices import cost_usd, is_known

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("model", "usage", "written_1h", "usd"),
    [
        ("claude-sonnet-5-5", Usage(input_tokens=MILLION), 0, 2.0),
        ("claude-sonnet-5-5", Usage(output_tokens=MILLION), 0, 10.0),
        ("claude-sonnet-5-5", Usage(cache_read_tokens=MILLION), 0, 0.1),
        ("claude-sonnet-5-5", Usage(cache_write_tokens=MILLION), 0, 2.5),
        ("claude-sonnet-5-5", Usage(cache_write_tokens=MILLION), MILLION, 4.0),
        ("claude-sonnet-5-5", Usage(cache_write_tokens=MILLION), MILLION // 2, 3.25),
        ("claude-fable-5-1", Usage(cache_write_tokens=MILLION), MILLION, 20.0),
        ("claude-haiku-5-5", Usage(input_tokens=100_000), 0, 0.01),
        ("claude-haiku-5-5", Usage(input_tokens=100_001), 0, 0.0500005),
        ("local", Usage(input_tokens=MILLION, output_tokens=MILLION), 0, 4.0),
        ("local", Usage(cache_read_tokens=MILLION), 0, 0.1),
        ("local", Usage(cache_write_tokens=MILLION), MILLION, 2.0),
        ("claude-opus-5-5", Usage(input_tokens=MILLION), 0, 7.0),
        ("nobody-knows", Usage(input_tokens=MILLION, output_tokens=MILLION), 0, 60.0),
        ("nobody-knows", Usage(cache_write_tokens=MILLION), MILLION, 20.0),
    ],
)
def test_each_kind_of_token_has_its_price(model: str, usage: Usage, written_1h: int, usd: float) -> None:
    own = {"local": Price(input=1, output=3), "claude-opus-5-5": Price(input=7, output=8)}
    assert cost_usd(model, usage, own=own, written_1h_tokens=written_1h) == pytest.approx(usd)


def test_a_model_that_nobody_knows_is_never_cheaper_than_one_of_the_organization() -> None:
    own = {"dear": Price(input=100, output=900)}
    assert cost_usd("nobody-knows", Usage(output_tokens=MILLION), own=own) == 900


def test_it_is_said_once_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cost_usd("new-model-of-this-test", Usage(input_tokens=1))
    assert caplog.text.count("is unknown") == 1
    assert '[prices."new-model-of-this-test"]' in caplog.text


def test_what_is_assumed_is_not_known() -> None:
    assert is_known("claude-sonnet-5-5", {})
    assert is_known("local", {"local": Price(input=1, output=3)})
    assert not is_known("local", {})
