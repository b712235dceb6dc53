"""Commands that say something to many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from agenthub.cli import EXIT_OK, EXIT_PARTIAL
from agenthub.cli.names import Target
from agenthub.cli.options import DEFAULT, Options
from agenthub.cli.output import print_json, say
from agenthub.cli.talk import File, PriorityName, Subject, Words, body_of

if TYPE_CHECKING:
    from agenthub.client.broadcast import Published, Sent


async def broadcast(
    text: Words = "-",
    /,
    *,
    to: Target = "@all",
    subject: Subject = "",
    priority: PriorityName = "medium",
    file: File = None,
    options: Options = DEFAULT,
) -> int:
    """Tell all roles something; it is stored in their inboxes when this returns.

    Args:
        text: What they shall know; `-` or nothing reads it from stdin, `@notes.md` from that file.
        to: `@all`, a team such as `@cto`, or `?skill=sql`.
        subject: A few words for lists. Default: the first line of the text.
        priority: Below high, roles read it with their next turn; from high on it wakes them.
        file: Read the text from this file.
    """
    from agenthub.client.broadcast import broadcast as say_to_all
    from agenthub.messages import Priority

    body = body_of(text, file)
    async with options.client() as client:
        sent = await say_to_all(client, to, body, subject=subject, priority=Priority(priority))
    return print_sent(sent, "announced to", options)


async def publish(
    topic: str,
    text: Words = "-",
    /,
    *,
    subject: Subject = "",
    priority: PriorityName = "medium",
    type_: Annotated[str, Parameter(name="--type")] = "",
    file: File = None,
    options: Options = DEFAULT,
) -> int:
    """Say something on a topic.

    Args:
        topic: `status.deploy`, `tasks.sql`, `decisions.api`, `announcements`.
        text: What is said; `-` or nothing reads it from stdin, `@api.json` from that file.
        subject: A few words for lists. Default: the first line of the text.
        priority: How urgent it is for those who hear it.
        type_: Type of the message. Default: by the topic, `task_assignment`, `direct_message`, `status` or
            `announcement`.
        file: Read the text from this file.
    """
    from agenthub.client.broadcast import publish as say_on
    from agenthub.messages import Priority

    body = body_of(text, file)
    async with options.client() as client:
        published = await say_on(client, topic, body, subject=subject, priority=Priority(priority), kind=type_)
    return print_published(published, options)


def print_sent(sent: list[Sent], verb: str, options: Options) -> int:
    """Print what became of each message; 7 if some were not stored."""
    from agenthub.client import views

    lost = [one for one in sent if one.error]
    if options.json:
        print_json([views.sent(one).model_dump(mode="json") | {"to": one.role} for one in sent], options)
    else:
        for one in sent:
            if not one.error:
                print(one.message.id)
        stored = [one.role for one in sent if not one.error]
        if stored:
            say(f"{verb} {len(stored)}: {', '.join(stored)}")
        for one in lost:
            say(f"not stored for {one.role}: {one.error}")
    return EXIT_PARTIAL if lost else EXIT_OK


def print_published(published: Published, options: Options) -> int:
    """Print where a message is said, and who will read it."""
    from agenthub.client import views

    if options.json:
        print_json(views.published(published), options)
        return EXIT_OK
    print(published.message.id)
    if published.subscribers:
        say(f"said on {published.topic}; {', '.join(published.subscribers)} will read it")
    else:
        say(f"said on {published.topic}, but no role subscribes to it; only who listens at this moment hears it")
    return EXIT_OK
