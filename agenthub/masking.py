"""Secrets are masked before they are kept, told or shown to a model: known values, and what looks like a key.

Kinds and shapes of keys after their issuers' documentation, as secret scanners know them
(https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns).
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import NamedTuple

OPENS, CLOSES = "⟦masked: ", "⟧"
"""Around what stands in the place of a secret; characters that hardly anybody writes."""
SHORTEST = 8
"""A known value of fewer characters is not masked: it would be found in words that mean nothing."""
_LONGEST_WORD = 16
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)?|CREDENTIALS?|DSN|PAT|AUTH(?:ORIZATION)?|COOKIE)(?:_|$)"
)


class _Kind(NamedTuple):
    """One kind of secret."""

    name: str
    marks: tuple[str, ...]
    """One of these is in each text that holds one: looking for them takes a thirtieth of the time of the pattern."""
    pattern: re.Pattern[str]

    def find(self, text: str) -> Iterable[tuple[int, int]]:
        """Where they begin and end."""
        if any(mark in text for mark in self.marks):
            return (found.span() for found in self.pattern.finditer(text))
        return ()


def _kind(name: str, marks: str, pattern: str) -> _Kind:
    return _Kind(name, tuple(marks.split()), re.compile(pattern, re.DOTALL))


_KINDS = (
    _kind("private key", "-----BEGIN", r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    _kind("Anthropic key", "sk-ant-", r"\bsk-ant-[\w-]{16,}"),
    _kind("OpenAI key", "sk-", r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{32,}"),
    _kind(
        "GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{36,})"
    ),
    _kind("GitLab token", "glpat-", r"\bglpat-[\w-]{20,}"),
    _kind("AWS key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    _kind("Google key", "AIza", r"\bAIza[\w-]{35}"),
    _kind("Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _kind("Stripe key", "k_live_ k_test_", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _kind("npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _kind("PyPI token", "pypi-", r"\bpypi-[\w-]{50,}"),
    _kind("NATS seed", "SA SC SN SO SU SX", r"\bS[ACNOUX][A-Z2-7]{56}\b"),
    _kind("JSON web token", "eyJ", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    _kind("password", "://", r"(?<=://)[^\s:/@]{0,64}:[^\s/@]{3,128}(?=@)"),
)
_MARKS = [mark for kind in _KINDS for mark in kind.marks]


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
        for mark in _MARKS:  # as a pattern, or with `any`, it would take three times as long
            if mark in text:
                break
        else:
            return text
        return _without_kinds(text)


def _without_kinds(text: str) -> str:
    """All kinds are looked for in the same text: a password of which a part looks like a key is masked as a whole."""
    found = [(start, number, end) for number, kind in enumerate(_KINDS) for start, end in kind.find(text)]
    shown, masked_to = [], 0
    for start, number, end in sorted(found):
        if start >= masked_to:
            shown += [text[masked_to:start], f"{OPENS}{_KINDS[number].name}{CLOSES}"]
        masked_to = max(masked_to, end)
    return "".join([*shown, text[masked_to:]])


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


mask_of_keys = Mask()
"""Takes out what looks like a key, and knows no values."""
