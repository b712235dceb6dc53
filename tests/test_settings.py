"""Settings: which source wins, where the organization is found, and what a wrong value says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agenthub.errors import ConfigError
from agenthub.settings import FILE_KEYS, Settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment that says nothing to us."""
    for name in os.environ:
        if name.upper().startswith(("AGENTHUB_", "NATS_", "ANTHROPIC_API_KEY")) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_flags_win_over_environment_over_file_over_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Settings.load().nats_url]
    write(folder / "agenthub.toml", '[nats]\nurl = "nats://file"')
    found.append(Settings.load().nats_url)
    monkeypatch.setenv("AGENTHUB_NATS_URL", "nats://environment")
    found.append(Settings.load().nats_url)
    found.append(Settings.load(nats_url="nats://flag").nats_url)
    found.append(Settings.load(nats_url=None).nats_url)
    assert found == ["", "nats://file", "nats://environment", "nats://flag", "nats://environment"]


def test_every_key_of_the_file_reaches_its_field(folder: Path) -> None:
    said = {
        "nats.url": "nats://x",
        "nats.user": "ada",
        "nats.creds": "a.creds",
        "nats.nkey": "a.nk",
        "nats.ca": "ca.pem",
        "nats.cert": "a.pem",
        "nats.key": "/etc/a.key",
        "nats.inbox_prefix": "_INBOX_ada",
        "nats.tls_first": True,
        "nats.servers": 3,
        "nats.replicas": 1,
        "model.url": "http://x",
        "rehearsal.seed": 7,
        "rehearsal.speed": 2.5,
        "process.log_level": "DEBUG",
        "process.log_format": "text",
        "process.health_host": "127.0.0.2",
        "process.health_port": 9464,
        "process.ack_wait_s": 21.0,
        "process.keep_alive_s": 3.0,
        "process.heartbeat_s": 6.0,
        "process.lease_ttl_s": 11.0,
        "process.grace_s": 12.0,
    }
    assert {*said, "nats.context"} == set(FILE_KEYS.values())  # a context has tests of its own
    write(folder / "agenthub.toml", "\n".join(f"{key} = {json.dumps(value)}" for key, value in said.items()))
    settings = Settings.load()
    said |= {key: folder / str(said[key]) for key in ("nats.creds", "nats.nkey", "nats.ca", "nats.cert", "nats.key")}
    assert {key: getattr(settings, field) for field, key in FILE_KEYS.items() if key in said} == said


@pytest.mark.parametrize(
    ("config", "here", "expected"),
    [
        ("agenthub.toml", ".", "."),
        ("config/agenthub.toml", ".", "."),
        ("config/agenthub.toml", "config", "."),
        ("acme/config/agenthub.toml", "acme/src/deep", "acme"),
        ("acme/agenthub.toml", "acme/src", "acme"),
        (None, "nowhere", "nowhere"),
    ],
)
def test_the_organization_is_found_from_the_current_folder_upwards(
    config: str | None, here: str, expected: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if config:
        write(folder / config)
    (folder / here).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder / here)
    settings = Settings.load()
    assert settings.config == (folder / config if config else None)
    assert settings.folder == (folder / expected).resolve()
    assert settings.state == settings.folder / ".agenthub"


def test_a_choice_of_numbers_can_be_made_by_a_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTHUB_NATS_REPLICAS", "3")
    monkeypatch.setenv("AGENTHUB_NATS_SERVERS", "5")
    settings = Settings.load(folder=folder)
    assert (settings.nats_replicas, settings.nats_servers) == (3, 5)


def test_an_empty_variable_counts_as_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "agenthub.toml", "process.grace_s = 7")
    monkeypatch.setenv("AGENTHUB_GRACE_S", "")
    monkeypatch.setenv("AGENTHUB_REHEARSE", "")
    assert (Settings.load().grace_s, Settings.load().rehearse) == (7.0, False)


def test_a_folder_that_is_named_is_not_searched_upwards(folder: Path) -> None:
    write(folder / "agenthub.toml")
    (folder / "other").mkdir()
    settings = Settings.load(folder="other", state="elsewhere")
    assert (settings.config, settings.folder, settings.state) == (None, folder / "other", folder / "elsewhere")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ANTHROPIC_API_KEY": "sk-theirs"}, "sk-theirs"),
        ({"ANTHROPIC_API_KEY": "sk-theirs", "AGENTHUB_API_KEY": "sk-ours"}, "sk-ours"),
        ({"ANTHROPIC_API_KEY": ""}, None),
    ],
)
def test_the_key_comes_from_the_environment_and_is_not_shown(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.api_key.get_secret_value() if settings.api_key else None) == expected
    assert "sk-" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("AGENTHUB_NATS_ULR", "x", "There is no variable `AGENTHUB_NATS_ULR`. Did you mean `AGENTHUB_NATS_URL`?"),
        ("AGENTHUB_ACK_WAIT_S", "0", "AGENTHUB_ACK_WAIT_S: Input should be greater than 0; found '0'."),
        ("AGENTHUB_GRACE_S", "inf", "AGENTHUB_GRACE_S: Input should be a finite number; found 'inf'."),
        ("AGENTHUB_KEEP_ALIVE_S", "20", "`keep_alive_s` (20) must be below `ack_wait_s` (20)"),
        ("AGENTHUB_HEARTBEAT_S", "15", "`heartbeat_s` (15) must be below `lease_ttl_s` (15)"),
        ("AGENTHUB_CONFIG", "gone.toml", "Correct `--config` or AGENTHUB_CONFIG."),
        ("AGENTHUB_FOLDER", "gone", "Correct `--folder` or AGENTHUB_FOLDER."),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[process]\n\nack_wait_s = -1",
            "config/agenthub.toml, line 3: `process.ack_wait_s`: Input should be greater than 0; found -1.",
        ),
        ("nats.url = 5", "config/agenthub.toml, line 1: `nats.url`: Input should be a valid string; found 5."),
        ('org = "a"\nx = = 1', "config/agenthub.toml, line 2, column 5: not TOML: Invalid value."),
    ],
)
def test_a_wrong_value_in_the_file_is_named_with_its_line(folder: Path, text: str, sentence: str) -> None:
    write(folder / "config/agenthub.toml", text)
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert str(caught.value) == sentence


def test_a_wrong_flag_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^`--log-level`: .*; found 'LOUD'.$"):
        Settings.load(log_level="loud")
    with pytest.raises(ConfigError, match=r"There is no setting `rehears`. Did you mean `rehearse`?"):
        Settings.load(rehears=True)
