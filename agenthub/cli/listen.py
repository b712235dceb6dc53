"""The command by which a person or a program takes part: one line for each message."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agenthub.cli import EXIT_OK
from agenthub.cli.names import OperatorName
from agenthub.cli.options import DEFAULT, Options, duration
from agenthub.cli.output import print_json, say

if TYPE_CHECKING:
    from agenthub.client.inboxes import WaitingMessage


async def listen(
    name: OperatorName,
    /,
    *,
    once: Annotated[bool, Parameter(negative="")] = False,
    for_: Annotated[str | None, Parameter(name="--for")] = None,
    options: Options = DEFAULT,
) -> int:
    """Take messages out of an inbox, or hear a topic: a line of JSON for each.

    Args:
        name: The operator, or a topic such as `topic:status.deploy`.
        once: End after the first message.
        for_: End after this time: 60s, 10m. With --once: exit code 5 if none came.
    """
    from agenthub.client.listening import listen as listen_to

    within_s = None if for_ is None else duration(for_, "--for").total_seconds()
    async with options.client() as client, listen_to(client, name) as messages:
        if sys.stderr.isatty():
            say(f"listening as {name}; Ctrl-C ends it")
        try:
            async with asyncio.timeout(within_s):
                async for message, settle in messages:
                    print_json(_as_data(message), options)
                    await settle()  # the line is out: who reads it has the message
                    if once:
                        return EXIT_OK
        except TimeoutError as error:
            if once:
                raise TimeoutError(f"No message came for {name} within {for_}.") from error
    return EXIT_OK


def _as_data(item: WaitingMessage) -> dict[str, Any]:
    if item.message is not None:
        return item.message.model_dump(mode="json", exclude_none=True)
    return {"error": "cannot be read", "subject": item.subject, "body": item.data.decode(errors="replace")}
