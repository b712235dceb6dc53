"""Contexts of the `nats` command: which one, what wins over it, and what is said of what cannot be done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agenthub.cli.options import Options
from agenthub.errors import ConfigError
from agenthub.nats_contexts import DEFAULT_URL
from agenthub.organization import load_organization
from agenthub.origins import settings_of
from agenthub.settings import Settings
from tests.foreign_server import write_context


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, contexts of this test's own, and an environment that says nothing to us."""
    for name in os.environ:
        if name.startswith(("AGENTHUB_", "NATS_", "ANTHROPIC_API_KEY")) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(monkeypatch: pytest.MonkeyPatch, toml: str = "", variables: Mapping[str, str] | None = None) -> Settings:
    Path("agenthub.toml").write_text(toml)
    for name, value in (variables or {}).items():
        monkeypatch.setenv(name, value)
    return Settings.load()


CONTEXT, VARIABLE, THEIRS = 'nats.context = "prod"', {"AGENTHUB_NATS_CONTEXT": "prod"}, {"NATS_CONTEXT": "prod"}


@pytest.mark.parametrize(
    ("toml", "variables", "url", "user"),
    [
        ("", {}, "", ""),
        (CONTEXT, {}, "tls://prod", "ada"),
        ("", VARIABLE, "tls://prod", "ada"),
        ("", THEIRS, "tls://prod", "ada"),
        ('nats.context = "gone"', VARIABLE, "tls://prod", "ada"),
        ('nats.url = "nats://file"', THEIRS, "nats://file", ""),
        ('nats.url = "nats://file"\nnats.user = "bob"', VARIABLE, "tls://prod", "ada"),
        ('nats.context = "prod"\nnats.url = "nats://file"', {}, "nats://file", "ada"),
        ('nats.context = "prod"\nnats.user = "bob"', {}, "tls://prod", "bob"),
        (CONTEXT, {"AGENTHUB_NATS_URL": "nats://variable"}, "nats://variable", ""),
        ('nats.context = "gone"', {"AGENTHUB_NATS_URL": "nats://variable"}, "nats://variable", ""),
        (CONTEXT, {"NATS_URL": "nats://theirs"}, "tls://prod", "ada"),
        ("", {**THEIRS, "NATS_URL": "nats://theirs"}, "nats://theirs", "ada"),
        ("", {"NATS_URL": "nats://theirs"}, "nats://theirs", ""),
        ('nats.url = "nats://file"', {"NATS_URL": "nats://theirs"}, "nats://file", ""),
        ("", {"NATS_URL": "nats://bob:secret@theirs"}, "nats://theirs", "bob"),
        (CONTEXT, {"AGENTHUB_NATS_CREDS": "x.creds"}, "tls://prod", ""),
    ],
)
def test_a_context_is_what_was_said_where_it_was_chosen(
    toml: str, variables: dict[str, str], url: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context("prod", url="tls://prod", user="ada", password="a password")
    found = load(monkeypatch, toml, variables).transport
    assert (found.url, found.user) == (url, user)


def test_a_flag_goes_before_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    write_context("prod", url="tls://prod", creds="prod.creds")
    load(monkeypatch, CONTEXT)
    found = Settings.load(nats_url="nats://flag").transport
    assert (found.url, found.creds, found.has_login) == ("nats://flag", None, False)


def test_a_context_on_the_command_line_goes_before_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_context("prod", url="tls://prod", user="ada", password="a password")
    write_context("staging", url="tls://staging")
    load(monkeypatch, f'org = "acme"\n{CONTEXT}\n')
    settings = Options(context="staging").settings()
    assert (settings.transport.url, settings.transport.user) == ("tls://staging", "")
    organization = load_organization(settings, strict=False)
    shown = {one.key: one.origin for one in settings_of(settings, organization, {"nats_context": "staging"})}
    assert shown["nats.context"] == "--context"
    with pytest.raises(ConfigError, match=r"`prd`.*--context asks for it"):
        Options(context="prd").settings()


def test_every_field_of_a_context_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("KEYS", "/etc/keys")
    write_context(
        "prod", url="tls://a:4222, tls://b:4222", token="a token", creds="~/a.creds", nkey="file:///etc/a.nk",
        cert="$KEYS/a.pem", key="${KEYS}/a.key", ca="ca.pem", inbox_prefix="_INBOX_ada", tls_first=True,
        description="ours", color_scheme="red", jetstream_event_prefix="x",
    )  # fmt: skip
    found = load(monkeypatch, CONTEXT).transport
    assert found.servers == ["tls://a:4222", "tls://b:4222"]
    assert found.token is not None
    assert found.token.get_secret_value() == "a token"
    assert (found.creds, found.nkey) == (folder / "home/a.creds", Path("/etc/a.nk"))
    assert (found.cert, found.key, found.ca) == (Path("/etc/keys/a.pem"), Path("/etc/keys/a.key"), folder / "ca.pem")
    assert (found.inbox_prefix, found.tls_first) == ("_INBOX_ada", True)


def test_a_context_without_a_server_means_the_one_that_the_nats_command_would_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_context("prod", creds="a.creds")
    assert load(monkeypatch, CONTEXT).nats_url == DEFAULT_URL


def test_files_of_the_organization_are_relative_to_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "acme" / "config").mkdir(parents=True)
    (folder / "acme" / "config" / "agenthub.toml").write_text('[nats]\nurl = "tls://a"\nca = "certs/ca.pem"')
    monkeypatch.setenv("NATS_CREDS", "my.creds")
    found = Settings.load(config="acme/config/agenthub.toml").transport
    assert (found.ca, found.creds) == (folder / "acme/certs/ca.pem", folder / "my.creds")


def test_passwords_leave_the_address_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, "", {"NATS_URL": "nats://ada:pa%40ss@a:4222,nats://ada:pa%40ss@b:4222"})
    assert settings.nats_url == "nats://a:4222,nats://b:4222"
    assert settings.secrets == {"nats_password": "pa@ss"}
    shown = settings_of(settings, load_organization(settings, strict=False), {})
    assert "pa@ss" not in f"{settings!r} {shown} {settings.transport}"


def test_where_each_comes_from_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_context("prod", url="tls://prod", ca="/etc/ca.pem", password="a password", user="ada")
    settings = load(monkeypatch, f'org = "acme"\n{CONTEXT}\n', {"AGENTHUB_NATS_INBOX_PREFIX": "_INBOX_x"})
    organization = load_organization(settings, strict=False)
    shown = {one.key: (one.value, one.origin) for one in settings_of(settings, organization, {})}
    assert shown["nats.context"] == ("prod", "agenthub.toml:2")
    assert shown["nats.url"] == ("tls://prod", str(path))
    assert shown["nats.ca"] == ("/etc/ca.pem", str(path))
    assert shown["nats_password"] == ("(set)", str(path))
    assert shown["nats.inbox_prefix"] == ("_INBOX_x", "AGENTHUB_NATS_INBOX_PREFIX")
    assert shown["nats.creds"] == (None, "default")
    flagged = Settings.load(nats_url="nats://flag")
    shown = {
        one.key: (one.value, one.origin) for one in settings_of(flagged, organization, {"nats_url": "nats://flag"})
    }
    assert shown["nats.url"] == ("nats://flag", "--nats")


def test_another_server_does_not_get_what_this_one_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    write_context("prod", url="tls://prod", token="a token")
    settings = load(monkeypatch, CONTEXT)
    other = settings.at("nats://127.0.0.1:4222")
    assert not other.transport.has_login
    assert other.secrets == {}
    again = other.at("tls://prod", "prod").transport
    assert (again.has_login, again.origins["token"]) == (True, settings.transport.origins["token"])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"nsc": "nsc://acme/a/b"}, "`nsc` cannot be done here; leave it out"),
        ({"socks_proxy": "socks5://x"}, "`socks_proxy` cannot be done here"),
        ({"jetstream_domain": "hub"}, "`jetstream_domain` cannot be done here"),
        ({"user_jwt": "eyJ"}, "name a file with the JWT and the user's seed as `creds`"),
        ({"ca": "op://vault/ca"}, "`ca` must be a file; write what op: gives into one."),
        ({"password": "op://vault/x"}, "give it as AGENTHUB_NATS_PASSWORD or AGENTHUB_NATS_PASSWORD_FILE"),
        ({"cert": "a.pem"}, "`cert` and `key` belong together"),
        ({"pasword": "x"}, "Did you mean `password`?"),
        ({"url": 5}, "`url` must be a text."),
        ({"url": "wss://prod"}, "`wss://` is not spoken here"),
    ],
)
def test_what_cannot_be_done_is_said_with_file_field_and_what_helps(
    fields: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_context("prod", **fields)
    with pytest.raises(ConfigError) as caught:
        load(monkeypatch, CONTEXT)
    assert str(path) in str(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "variables", "sentence"),
    [
        (
            'nats.context = "prdo"',
            {},
            "There is no NATS context `prdo`. Did you mean `prod`? agenthub.toml:1 asks for it",
        ),
        ("", {"NATS_CONTEXT": "../x"}, "'../x' (NATS_CONTEXT) cannot be the name of a NATS context."),
        ('nats.ca = "ca.pem"', {}, "`nats.ca` (agenthub.toml:1) is for a server that somebody else runs."),
        ('nats.url = "a"\nnats.cert = "c"', {}, "`nats.cert` (agenthub.toml:2) needs `nats.key` as well."),
        ('nats.url = "a"', {"AGENTHUB_NATS_PASSWORD": "x"}, "needs `nats.user` as well."),
        ("", {"AGENTHUB_NATS_URL": "ws://a"}, "`url` of AGENTHUB_NATS_URL: `ws://` is not spoken here."),
    ],
)
def test_what_does_not_fit_together_is_said_with_its_origin(
    toml: str, variables: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_context("prod", url="tls://prod")
    with pytest.raises(ConfigError) as caught:
        load(monkeypatch, toml, variables)
    assert sentence in str(caught.value)


def test_variables_of_the_nats_command_say_nothing_about_a_server_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"NATS_CREDS": "a.creds", "NATS_CA": "ca.pem", "NATS_KEY": "x"}
    settings = load(monkeypatch, "", variables)
    assert settings.nats_url == ""
    assert not settings.transport.has_login
    assert not settings.transport.wants_tls
