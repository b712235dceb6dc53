"""What is logged: for machines and for people, about which message, and never a prompt or a secret."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenthub import logs
from agenthub.bus.server import NatsServer
from agenthub.messages import Completion
from agenthub.rehearsal.server import start_rehearsal
from agenthub.runtime import RolePlace, run_role
from agenthub.settings import Settings
from tests.organization import Hub

PROMPT = "The merger with Globex is planned for May"
KEY = "sk-ant-planted-key-4711"


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The logging of other tests as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:], logger.level = handlers, level


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_role_logs_which_message_it_is_at_and_neither_prompts_nor_keys(
    server: NatsServer, hub: Hub, tmp_path: Path
) -> None:
    path = tmp_path / "backend.log"
    logs.log_to_file(path, "DEBUG", bound={"org": "acme", "role": "backend"}, secrets={"API key": KEY})
    stop = asyncio.Event()
    async with start_rehearsal(speed=0) as endpoint:
        settings = Settings.load(
            config=hub.folder / "agenthub.toml", nats_url=server.url, model_url=endpoint.url, rehearse=True, api_key=KEY
        )
        running = asyncio.create_task(run_role(RolePlace(settings, hub.organization, "backend"), stop=stop))
        message_id = await hub.send("backend", PROMPT, subject="Globex")
        done: Completion = await hub.completion("backend", message_id)
        stop.set()
        await running
    logging.getLogger("somebody").warning("careless: %s", KEY)
    text = path.read_text()
    assert done.outcome == "done"
    assert PROMPT not in text and KEY not in text
    assert "careless: ⟦masked: API key⟧" in text
    about = [line for line in lines(path) if line.get("message_id") == message_id]
    assert about and all((line["org"], line["role"]) == ("acme", "backend") for line in lines(path))
    assert {line["trace_id"] for line in about} == {message_id}
    assert all("message_id" not in line for line in lines(path) if "careless" in line["event"])


def test_a_traceback_shows_no_local_variables(tmp_path: Path) -> None:
    for form in ("json", "text"):
        path = tmp_path / f"{form}.log"
        logs.log_to_file(path, "INFO", form=form)
        try:
            prompt = PROMPT
            raise ValueError(f"the check that failed for {len(prompt)} characters")
        except ValueError:
            logging.getLogger("x").exception("a bug")
        text = path.read_text()
        assert "the check that failed" in text and "Traceback" in text
        assert PROMPT not in text


def test_words_of_others_cannot_begin_a_line_or_move_the_cursor(tmp_path: Path) -> None:
    hostile = "over\n2026-01-01 INFO forged \x1b[2J"
    for form, count in (("json", 1), ("text", 1)):
        path = tmp_path / f"{form}.log"
        logs.log_to_file(path, "INFO", form=form)  # type: ignore[arg-type]
        logging.getLogger("x").info("%s", hostile)
        text = path.read_text()
        assert (len(text.splitlines()), "\x1b[2J" in text) == (count, False)


def test_people_read_a_line_without_seeing_json(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logs.log_to_file(path, "INFO")
    logs.is_about(message_id="m1", trace_id="t1")
    logging.getLogger("agenthub.loop").info("took %s", "m1")
    logs.is_about()
    shown = logs.readable(path.read_text().rstrip())
    assert shown.endswith("INFO    agenthub.loop: took m1  message_id=m1  trace_id=t1")
    assert logs.readable("[7] plain words of a server") == "[7] plain words of a server"
    assert logs.readable("[1, 2]") == "[1, 2]"
