"""What model calls cost at list price, from the price library. An unknown model counts as the dearest known."""

from __future__ import annotations

import functools
import logging

from agenthub.messages import Usage

logger = logging.getLogger(__name__)

_DEAREST_USD_PER_MTOK = (10.0, 50.0)
"""Input and output of the dearest model known; see the table in docs/configuration.md."""


def cost_usd(model: str, usage: Usage) -> float:
    """Price of one model call in USD."""
    from genai_prices import Usage as Tokens  # imported late: it holds the prices of hundreds of models
    from genai_prices import calc_price

    whole_input = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    tokens = Tokens(
        input_tokens=whole_input,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        return float(calc_price(tokens, model, provider_id="anthropic").total_price)
    except LookupError:
        _say_unknown(model)
        return (whole_input * _DEAREST_USD_PER_MTOK[0] + usage.output_tokens * _DEAREST_USD_PER_MTOK[1]) / 1e6


@functools.lru_cache
def _say_unknown(model: str) -> None:
    logger.warning("the price of `%s` is unknown; it is counted as the dearest model known", model)
