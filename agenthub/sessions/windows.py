"""How many tokens fit into a model: asked of its provider now and then, remembered on disk, else from a list.

Nothing waits for it and nothing fails for it: a provider that does not say leaves what was known before.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anthropic
import httpx2

from agenthub.whole_files import write_whole

logger = logging.getLogger(__name__)

KEEP_S = 7 * 24 * 3600.0
_TRY_AGAIN_S = 3600.0
_WITHIN_S = 5.0


class Window:
    """The window of one model at one endpoint."""

    def __init__(self, model: str, url: str, *, folder: Path | None) -> None:
        """What was learned before, if `folder` remembers it, else what lists say."""
        self._model, self._url = model, url
        self._file = folder / f"{quote(model, safe='')}.json" if folder else None
        self._ask_again_at_s = 0.0
        """In the time of the clock on the wall, since it outlives this process."""
        self._learned = self._remembered()

    @property
    def tokens(self) -> int:
        """Tokens that fit into a request; 0 if unknown."""
        return self._learned or _listed(self._model)

    async def learn(self, client: anthropic.AsyncAnthropic) -> None:
        """Ask the provider, if it is time to."""
        if time.time() < self._ask_again_at_s:
            return
        self._ask_again_at_s = time.time() + _TRY_AGAIN_S
        try:
            info = await client.models.retrieve(self._model, timeout=_WITHIN_S)
            said = getattr(info, "max_input_tokens", None)
        except (anthropic.APIError, httpx2.RequestError, ValueError, TypeError) as error:
            logger.debug("the window of `%s` could not be learned: %s", self._model, type(error).__name__)
            return
        if isinstance(said, int) and said > 0:
            self._learned = said
            self._ask_again_at_s = time.time() + KEEP_S
            self._remember()

    def _remembered(self) -> int:
        if self._file is None:
            return 0
        try:
            known: dict[str, Any] = json.loads(self._file.read_text())
            if known["url"] != self._url:
                return 0
            self._ask_again_at_s = float(known["at"]) + KEEP_S
            return int(known["tokens"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _remember(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # a full disk is said elsewhere
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps({"tokens": self._learned, "url": self._url, "at": time.time()}))


@functools.lru_cache
def _listed(model: str) -> int:
    from genai_prices import Usage as Tokens  # imported late: it holds hundreds of models
    from genai_prices import calc_price

    try:
        return calc_price(Tokens(input_tokens=1), model, provider_id="anthropic").model.context_window or 0
    except LookupError:
        return 0
