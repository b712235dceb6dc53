"""Is something that roles will read, a learning or a decision, to be seen by a person before? A rule over its words.

It errs to the side of caution: who is held back by mistake is released by a person with one command.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agenthub.learnings import Learning
from agenthub.masking import has_mask, mask_of_keys

_SECRETS = re.compile(r"\b(?:password|passwd|secret|token|api[_-]?key)\s*[=:]\s*\S{6,}", re.IGNORECASE)
_URL = re.compile(
    r"\b(?:https?|ftp|ssh|git|wss?|nats)(?:\+\w+)?://(?!(?:localhost|127\.0\.0\.1|\[::1\])(?:[:/]|\b))", re.IGNORECASE
)
_HOST = re.compile(r"\b(?:curl|wget|nc|ssh|scp|rsync|telnet)\s+(?:-\S+\s+)*\S*\w\.\w", re.IGNORECASE)
_RUN_FOREIGN = re.compile(
    r"\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b|\b(?:eval|exec)\s*[(\"'`$]|base64\s+(?:-d|--decode)"
    r"|\bpip\s+install\s+\S*(?:git\+|--index-url|--extra-index-url)|\bnpx\s+\S+@",
    re.IGNORECASE,
)
_ESCALATION = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass|circumvent|disable|turn\s+off|switch\s+off|skip|evade)\b.{0,60}"
    r"\b(?:instructions?|rules?|polic(?:y|ies)|permissions?|guards?|sandbox|approvals?|budgets?|limits?|safety|checks?"
    r"|reviews?|audits?|breakers?|hooks?)\b"
    r"|\bwithout\s+(?:asking|approval|permission|a\s+review|telling)\b"
    r"|\b(?:you\s+are\s+now|new\s+system\s+prompt|system\s+prompt|act\s+as\s+(?:the\s+)?(?:operator|admin|root|ceo))\b"
    r"|\b(?:sudo|su\s+-|chmod\s+(?:-R\s+)?[0-7]*777|setuid|dangerously\S*|rm\s+-rf)\b|(?<!\w)--(?:no-verify|privileged|dangerously)\b"
    r"|\bgrant\b.{0,40}\b(?:yourself|access|rights?|permissions?|admin)\b"
    r"|\b(?:send|post|upload|copy|forward|exfiltrate)\b.{0,60}\b(?:secrets?|tokens?|keys?|credentials?|passwords?|\.env)\b"
    r"|\balways\s+(?:approve|confirm|allow)\b|<\W{0,8}hub\W{0,8}:|\bpermissions\.(?:toml|allow)\b|\bpolicy\.md\b",
    re.IGNORECASE,
)
_KINDS = (
    (_URL, "it names an address outside"),
    (_HOST, "it fetches from a host outside"),
    (_RUN_FOREIGN, "it runs what comes from elsewhere"),
    (_ESCALATION, "it asks to get around rules or people"),
)


def suspicion(learning: Learning) -> str:
    """Why a person should see it first, in a few words; empty: nothing speaks against it."""
    return suspicion_of(_text(learning))


def suspicion_of(text: str) -> str:
    """The same of any text."""
    if _holds_secret(text, mask_of_keys):
        return "it holds what looks like a secret"
    return next((why for pattern, why in _KINDS if pattern.search(text)), "")


def withheld(text: str) -> tuple[str, str]:
    """A text of many people's lines without those that a person should see first, and why the first of them."""
    lines, first = [], ""
    for line in text.splitlines():
        why = suspicion_of(line)
        first = first or why
        lines.append(f"- (withheld: {why})" if why else line)
    return ("\n".join(lines), first) if first else (text, "")


def holds_secret(learning: Learning, mask: Callable[[str], str] = mask_of_keys) -> bool:
    """True if it must not be published at all: what is stored on the bus is read by all.

    Args:
        mask: Takes out the secrets that it knows.
    """
    return _holds_secret(_text(learning), mask)


def _holds_secret(text: str, mask: Callable[[str], str]) -> bool:
    return mask(text) != text or has_mask(text) or _SECRETS.search(text) is not None


def _text(learning: Learning) -> str:
    return "\n".join((learning.trigger, learning.approach, learning.outcome, learning.ask))
