"""Secrets are masked before they are kept, told or shown to a model: known values, and what looks like a key.

Kinds and shapes of keys after their issuers' documentation, as secret scanners know them
(https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns).
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable, Mapping

OPENS, CLOSES = "⟦masked: ", "⟧"
"""Around what stands in the place of a secret; characters that hardly anybody writes."""
SHORTEST = 8
"""A known value of fewer characters is not masked: it would be found in words that mean nothing."""
_LONGEST_WORD = 16
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)?|CREDENTIALS?|DSN|PAT|AUTH(?:ORIZATION)?|COOKIE)(?:_|$)"
)

_KINDS: Mapping[str, str] = {
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    "Anthropic key": r"\bsk-ant-[\w-]{16,}",
    "OpenAI key": r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{32,}",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{36,})",
    "GitLab token": r"\bglpat-[\w-]{20,}",
    "AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google key": r"\bAIza[\w-]{35}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "PyPI token": r"\bpypi-[\w-]{50,}",
    "NATS seed": r"\bS[ACNOUX][A-Z2-7]{56}\b",
    "JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "password": r"(?<=://)[^\s:/@]{0,64}:[^\s/@]{3,128}(?=@)",
}
_ANY_KIND = re.compile(
    "|".join(f"(?P<k{number}>{pattern})" for number, pattern in enumerate(_KINDS.values())), re.DOTALL
)
_NAMES = list(_KINDS)


class Mask:
    """Replaces secrets in texts."""

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        """A mask that knows these secrets (name → value) besides all that looks like one."""
        found: dict[str, str] = {}
        for name, value in (secrets or {}).items():
            if len(value) >= SHORTEST and not (value.isalpha() and len(value) < _LONGEST_WORD):
                found |= dict.fromkeys(_forms(value), name)
        longest_first = sorted(found, key=len, reverse=True)
        self._names = found
        self._known = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(lambda match: f"{OPENS}{self._names[match[0]]}{CLOSES}", text)
        return _ANY_KIND.sub(_kind, text)


def has_mask(text: str) -> bool:
    """True if a secret was replaced in the text."""
    return OPENS in text


def secret_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose names say that their values are secret."""
    return {name: value for name, value in environment.items() if _SECRET_NAME.search(name.upper().replace("-", "_"))}


def _forms(value: str) -> Iterable[str]:
    """A value as it is, and as programs like to show it."""
    yield value
    yield urllib.parse.quote(value, safe="")
    yield base64.b64encode(value.encode()).decode().rstrip("=")


def _kind(match: re.Match[str]) -> str:
    assert match.lastgroup is not None
    return f"{OPENS}{_NAMES[int(match.lastgroup[1:])]}{CLOSES}"


mask_of_keys = Mask()
"""Takes out what looks like a key, and knows no values."""
