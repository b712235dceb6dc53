"""What model calls cost: the organization's `[prices]`, else the list prices of the price library.

A model that neither knows counts as the dearest known, so that no limit is passed unseen.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping

from agenthub.messages import Usage
from agenthub.organization_file import Price

logger = logging.getLogger(__name__)

_DEAREST = Price(input=10.0, output=50.0, cache_read=1.0, cache_write=12.5, cache_write_1h=20.0)


def cost_usd(model: str, usage: Usage, *, own: Mapping[str, Price] | None = None, written_1h_tokens: int = 0) -> float:
    """Price of one model call in USD.

    Args:
        own: Prices by the model's full name, which come before the library's.
        written_1h_tokens: Of `usage.cache_write_tokens` those that the provider keeps for an hour.
    """
    own = own or {}
    if model in own:
        return _at(own[model], usage, written_1h_tokens)
    from genai_prices import Usage as Tokens  # imported late: it holds the prices of hundreds of models
    from genai_prices import calc_price

    tokens = Tokens(
        input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=min(written_1h_tokens, usage.cache_write_tokens),
    )
    try:
        return float(calc_price(tokens, model, provider_id="anthropic").total_price)
    except LookupError:
        _say_unknown(model)
        return _at(max([_DEAREST, *own.values()], key=lambda price: price.output), usage, written_1h_tokens)


def is_known(model: str, own: Mapping[str, Price]) -> bool:
    """True if what the model costs is known, and not assumed."""
    if model in own:
        return True
    from genai_prices import Usage as Tokens
    from genai_prices import calc_price

    try:
        calc_price(Tokens(input_tokens=1), model, provider_id="anthropic")
    except LookupError:
        return False
    return True


def _at(price: Price, usage: Usage, written_1h_tokens: int) -> float:
    rates = price.filled()
    written_5m_tokens = max(0, usage.cache_write_tokens - written_1h_tokens)
    return (
        usage.input_tokens * rates.input
        + usage.output_tokens * rates.output
        + usage.cache_read_tokens * rates.cache_read
        + written_5m_tokens * rates.cache_write
        + (usage.cache_write_tokens - written_5m_tokens) * rates.cache_write_1h
    ) / 1e6


@functools.lru_cache
def _say_unknown(model: str) -> None:
    logger.warning(
        "the price of `%s` is unknown; it is counted as the dearest model known. Say it in agenthub.toml: "
        '`[prices."%s"]` with `input` and `output` in USD per million tokens', model, model,
    )  # fmt: skip
