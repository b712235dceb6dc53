"""Secrets from variables, files and credentials: which one holds, where it is masked, and that no command sees any."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from agenthub import equipment
from agenthub.errors import ConfigError
from agenthub.masking import Mask
from agenthub.mcp_files import servers_of
from agenthub.mcp_http import token
from agenthub.organization import load_organization
from agenthub.sandbox import isolation
from agenthub.secret_sources import MAX_BYTES, known_secrets, with_files
from agenthub.sessions.session import ToolCall
from agenthub.settings import SECRETS, Settings
from agenthub.tools.offer import sandbox_of
from agenthub.tools.shell import shell_tools
from agenthub.tools.workplace import OneFolder
from tests.organization import write_organization
from tests.sessions.scripted import task

KEY = "sk-canary-4711-and-some-more"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in os.environ:
        if name.startswith(("AGENTHUB_", "NATS_", "ANTHROPIC_API_KEY")) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def say(monkeypatch: pytest.MonkeyPatch, folder: Path, said: Mapping[str, str]) -> None:
    """Say secrets as variable `NAME`, in the file of `NAME_FILE`, or as the credential `credential:NAME`."""
    for name, value in said.items():
        if name.startswith("credential:"):
            path = folder / "credentials" / name.removeprefix("credential:")
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
        elif name.endswith("_FILE"):
            path = folder / f"{name}.txt"
            monkeypatch.setenv(name, str(path))
        else:
            monkeypatch.setenv(name, value)
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("said", "expected", "origin"),
    [
        ({}, None, None),
        ({"ANTHROPIC_API_KEY": "variable"}, "variable", "ANTHROPIC_API_KEY"),
        ({"ANTHROPIC_API_KEY_FILE": "file"}, "file", "ANTHROPIC_API_KEY_FILE, "),
        ({"credential:anthropic_api_key": "credential"}, "credential", "credential anthropic_api_key, "),
        ({"credential:ANTHROPIC_API_KEY": "credential"}, "credential", "credential ANTHROPIC_API_KEY, "),
        ({"credential:anthropic_api_key": "c", "ANTHROPIC_API_KEY_FILE": "file"}, "file", "ANTHROPIC_API_KEY_FILE, "),
        ({"ANTHROPIC_API_KEY_FILE": "file", "ANTHROPIC_API_KEY": "variable"}, "variable", "ANTHROPIC_API_KEY"),
        ({"credential:agenthub_api_key": "ours", "ANTHROPIC_API_KEY": "theirs"}, "ours", "credential agenthub_api_key"),
        ({"AGENTHUB_API_KEY_FILE": "ours", "ANTHROPIC_API_KEY": "theirs"}, "ours", "AGENTHUB_API_KEY_FILE, "),
        ({"ANTHROPIC_API_KEY": "", "ANTHROPIC_API_KEY_FILE": "file"}, "file", "ANTHROPIC_API_KEY_FILE, "),
    ],
)
def test_the_nearest_place_holds_and_ours_goes_before_that_of_others(
    said: dict[str, str], expected: str | None, origin: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, folder, said)
    settings = Settings.load()
    assert (settings.api_key.get_secret_value() if settings.api_key else None) == expected
    assert settings.origins.get("api_key", "").startswith(origin or "")
    assert "sk-" not in repr(settings)


@pytest.mark.parametrize("field", SECRETS)
@pytest.mark.parametrize("how", ["{}", "{}_FILE", "credential:{}"])
def test_every_secret_can_be_said_in_each_way(
    field: str, how: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTHUB_NATS_URL", "tls://a")
    monkeypatch.setenv("AGENTHUB_NATS_USER", "ada")
    name = SECRETS[field][-1]
    say(monkeypatch, folder, {how.format(name.lower() if "credential" in how else name): KEY})
    settings = Settings.load()
    assert getattr(settings, field).get_secret_value() == KEY
    assert list(settings.secrets.values()) == [KEY]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "AGENTHUB_API_KEY_FILE: .*key.txt cannot be read: No such file or directory"),
        (b"", "holds no secret"),
        (b"x" * (MAX_BYTES + 1), "holds no secret"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_without_a_secret_is_named(
    content: bytes | None, sentence: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (folder / "key.txt").write_bytes(content)
    monkeypatch.setenv("AGENTHUB_API_KEY_FILE", str(folder / "key.txt"))
    with pytest.raises(ConfigError, match=sentence):
        Settings.load()


def test_only_what_is_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTHUB_NATS_URL_FILE", "x")
    with pytest.raises(ConfigError, match="There is no variable `AGENTHUB_NATS_URL_FILE`"):
        Settings.load()


def test_mcp_servers_get_secrets_from_files_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, folder, {"GITHUB_TOKEN_FILE": "in a file", "credential:linear-token": "a credential"})
    raw = {"command": "x", "env": {"A": "${GITHUB_TOKEN}", "B": "${LINEAR_TOKEN}"}}
    found = servers_of([{"it": raw}], folder=folder, environment=with_files(os.environ))
    assert found["it"].env == {"A": "in a file", "B": "a credential"}


def test_a_chosen_token_of_the_mcp_door_is_written_into_no_file(folder: Path) -> None:
    assert token(folder / "state", "chosen") == "chosen"
    assert not (folder / "state").exists()


def test_all_of_them_are_masked_and_the_places_where_they_are_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_organization(folder)
    said = {
        "ANTHROPIC_API_KEY_FILE": "first-canary-1", "GITHUB_TOKEN_FILE": "second-canary-2",
        "credential:something": "third-canary-3", "SOME_SECRET": "fourth-canary-4",
        "AGENTHUB_NATS_PASSWORD_FILE": "fifth-canary-5",
    }  # fmt: skip
    say(monkeypatch, folder, said)
    monkeypatch.setenv("AGENTHUB_NATS_URL", "tls://a")
    monkeypatch.setenv("AGENTHUB_NATS_USER", "ada")
    monkeypatch.setenv("NATS_CERT", "/etc/nats/client.pem")
    monkeypatch.setenv("NATS_KEY", "/etc/nats/client.key")
    settings = Settings.load()
    mask = Mask(equipment.secrets_of(settings, load_organization(settings), "qa"))
    masked = mask(" ".join(said.values()))
    assert "canary" not in masked
    places = f"{folder / 'GITHUB_TOKEN_FILE.txt'} /etc/nats/client.key {folder / 'credentials'}"
    assert mask(places) == places


def test_what_cannot_be_read_of_others_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN_FILE", "/nowhere")
    assert "GITHUB_TOKEN" not in with_files(os.environ)
    assert "/nowhere" not in known_secrets(os.environ).values()


# ── a command ──────────────────────────────────────────────────────────────────────────────────────
LOOKS = (
    "env",
    "cat /proc/self/environ /proc/1/environ /proc/[0-9]*/environ | tr '\\0' '\\n'",
    "cat FOLDER/ANTHROPIC_API_KEY_FILE.txt",
    "cat FOLDER/credentials/*",
)


@pytest.mark.skipif(bool(isolation().remedy), reason=isolation().found)
@pytest.mark.parametrize("has_network", [False, True])
async def test_no_command_of_a_role_can_read_a_secret_nor_where_it_is(
    has_network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("/run", f"agenthub-test-{uuid.uuid4().hex}")  # where systemd and containers put them
    try:
        folder.mkdir(mode=0o755)
    except OSError as error:
        pytest.skip(f"secrets cannot be put where systemd does: {error}")
    try:
        said = {"ANTHROPIC_API_KEY_FILE": KEY, "credential:github_token": KEY, "AGENTHUB_HEALTH_TOKEN": KEY}
        say(monkeypatch, folder, said)
        write_organization(Path.cwd(), roles={"qa": {"network": str(has_network).lower()}})
        settings = Settings.load()
        assert settings.secrets == {"the model's key": KEY, "health_token": KEY}
        role = load_organization(settings).role("qa")
        sandbox = sandbox_of(role, settings.state / "workspaces" / "qa")
        assert sandbox.has_network == has_network
        sandbox.workspace.mkdir(parents=True)
        tool = shell_tools(sandbox, OneFolder(sandbox.workspace))[0]
        for look in LOOKS:
            command = look.replace("FOLDER", str(folder))
            plain = _plainly(command)
            assert KEY in plain, f"without walls, `{command}` finds it"
            outcome = await tool.run(tool.arguments.model_validate({"command": command}), ToolCall("k~1", task()))
            assert KEY not in outcome.content
            assert "CREDENTIALS_DIRECTORY" not in outcome.content
            assert "HEALTH_TOKEN" not in outcome.content
    finally:
        shutil.rmtree(folder)


def _plainly(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout
