"""Secrets: masked in what tools give back, in what comes in, and so in transcripts, events and completions."""

from __future__ import annotations

import base64
import json
import sqlite3

import pytest

from agenthub.masking import CLOSES, OPENS, Mask, has_mask, secret_variables
from agenthub.rehearsal import start_rehearsal
from tests.organization import Hub
from tests.test_breakers import at_work

_LETTERS = "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zA1bC2dD3eE4fF5gG6"
KEYS = [
    "sk-ant-api03-" + _LETTERS, "sk-proj-" + _LETTERS, "ghp_" + _LETTERS[:36], "github_pat_" + _LETTERS[:40],
    "glpat-" + _LETTERS[:20], "AKIA" + "ABCDEFGH12345678", "AIza" + _LETTERS[:35], "xoxb-123456789012-abcdef",
    "sk_live_" + _LETTERS[:24], "npm_" + _LETTERS[:36], "SU" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ23" * 2,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLWhlcmU",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIE cut",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_key_is_masked_and_nothing_around_it(key: str) -> None:
    shown = Mask()(f"before {key}")
    assert shown.startswith(f"before {OPENS}")
    assert shown.endswith(CLOSES)
    assert not any(part in shown for part in key.split() if len(part) > 8)


def test_the_password_of_an_address_is_masked_and_the_address_stays() -> None:
    assert Mask()("postgres://app:hunter2@db/x") == f"postgres://{OPENS}password{CLOSES}@db/x"


@pytest.mark.parametrize("key", [key for key in KEYS if " " not in key])
def test_a_password_of_which_a_part_looks_like_a_key_is_masked_as_a_whole(key: str) -> None:
    assert Mask()(f"postgres://app:se$cret!{key}!word@db/x") == f"postgres://{OPENS}password{CLOSES}@db/x"


@pytest.mark.parametrize(
    "text",
    [
        "The task sk-1 is done", "AKIA is a prefix", "https://example.org/a:b", "Bearer of news", "skate-ant",
        "ghp_short",
        "a token of 40 characters: " + "a" * 40, "http://127.0.0.1:8080/x@y", "",
    ],
)  # fmt: skip
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert Mask({"PASSWORD": "abc", "TOKEN": "rehearsal", "KEY": ""})(text) == text


def test_known_values_are_masked_by_name_in_the_forms_that_programs_show() -> None:
    value = "pa ss/w0rd&more"
    mask = Mask({"DB_PASSWORD": value})
    encoded = base64.b64encode(value.encode()).decode()
    for form in (value, "pa%20ss%2Fw0rd%26more", encoded):
        assert mask(f"x {form} y").rstrip("= y") == f"x {OPENS}DB_PASSWORD{CLOSES}"


def test_variables_are_taken_for_secret_by_their_names() -> None:
    names = ["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "Authorization", "x-api-key", "PGPASSWORD_FILE", "DB_PASSWORD"]
    others = ["PATH", "HOME", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_AUTHOR", "MONKEY"]
    assert set(secret_variables(dict.fromkeys([*names, *others], "x"))) == {*names} - {"PGPASSWORD_FILE"}


# ── on a server ────────────────────────────────────────────────────────────────────────────────────
async def test_a_secret_that_a_tool_reads_is_nowhere_afterwards(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    known, unknown, sent = "correct-horse-9-staple", "ghp_" + _LETTERS[:36], "sk-ant-api03-" + _LETTERS
    monkeypatch.setenv("SHOP_DB_PASSWORD", known)
    workspace = hub.settings.state / "workspaces" / "backend"
    workspace.mkdir(parents=True)
    (workspace / "settings.ini").write_text(f"user=app\npassword={known}\ntoken={unknown}\n")
    reads = json.dumps({"path": "settings.ini"})
    async with start_rehearsal(speed=0) as endpoint, at_work(hub, endpoint, "backend"):
        text = f"Use {sent}.\nrehearse: tool read_file {reads}"
        end = await hub.completion("backend", await hub.send("backend", text))
        asked = json.dumps(list(endpoint.model.journal), default=str)
    journal = hub.settings.state / "journals" / "backend.db"
    with sqlite3.connect(journal) as db:
        kept = "\n".join(db.iterdump())
    told = b"".join(
        received.data for received in await hub.bus.history("AGENTHUB_EVENTS", "agent-hub.events.>")
    ).decode()
    assert "masked: " in kept
    assert "user=app" in kept
    for place in (kept, told, end.model_dump_json(), asked):
        assert not [secret for secret in (known, unknown, sent) if secret in place]


async def test_a_file_with_a_masked_secret_is_not_written_back(hub: Hub) -> None:
    workspace = hub.settings.state / "workspaces" / "backend"
    workspace.mkdir(parents=True)
    (workspace / "env").write_text("TOKEN=" + KEYS[2])
    writes = json.dumps({"path": "env", "content": Mask()("TOKEN=" + KEYS[2])}, ensure_ascii=False)
    assert has_mask(writes)
    async with start_rehearsal(speed=0) as endpoint, at_work(hub, endpoint, "backend"):
        await hub.completion("backend", await hub.send("backend", f"rehearse: tool write_file {writes}"))
    assert (workspace / "env").read_text() == "TOKEN=" + KEYS[2]
