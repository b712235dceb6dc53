"""Commands of the group See: who does what, why, since when, at what cost."""

from __future__ import annotations

from agenthub.cli.commands.entry import Command

COMMANDS = (
    Command(
        "tui",
        "See",
        "tui:tui",
        """See everything and steer everything, on one screen: agents, inboxes, events, decisions, dead letters, cost.

$ agenthub tui
$ agenthub tui --read-only            nothing can be changed from it
$ agenthub tui --since 24h            with the events of a day
$ agenthub tui --theme nord
$ agenthub tui --serve                in a browser on this machine; prints its address, with a token in it
$ agenthub tui --serve 127.0.0.1:9000

It is a client like any other: start it anywhere, as often as you like, leave it at any time. `?` lists the keys;
`[tui]` of ~/.config/agenthub/config.toml changes theme and keys.""",
    ),
    Command(
        "ps",
        "See",
        "ps:ps",
        """Show each role: state, what it does now, since when, what waits, tokens and cost of today, heartbeat.

$ agenthub ps
$ agenthub ps --json=role,state,doing

Waiting is counted by priority: critical, high, medium, low. What is put off, since it waits for money, for the model or
its next try, is counted apart (`+2 put off`; `delayed` in JSON). Who waits for your decision is `◆ needs you`, whose
circuit breaker is open `▲ circuit`; in JSON `needs_you` is the id to decide about, `circuit` the reason. Costs are list
prices.""",
    ),
    Command(
        "watch",
        "See",
        "ps:watch",
        """Show the table of `agenthub ps` again and again, until Ctrl-C.

$ agenthub watch
$ agenthub watch --every 5s --json             a line of JSON for each look""",
    ),
    Command(
        "who",
        "See",
        "who:who",
        """List the people and roles of the organization: what for, skills, manager, state.

$ agenthub who
$ agenthub who @cto                            all who work for the cto
$ agenthub who "?skill=sql" --json=name,state  who can do something

Exit codes: 0 ok, 3 nobody is meant, 4 no hub.""",
    ),
    Command(
        "cost",
        "See",
        "cost:cost",
        """Show what the model calls took: calls, tokens, how much came from the cache, list price.

$ agenthub cost                                by role, the last 24 hours
$ agenthub cost --by trace --since 7d          which directives were dear
$ agenthub cost --by day --since 7d --json

Model calls are remembered for a week. Limits and what is left of them: `agenthub budget ls`.""",
    ),
    Command(
        "tail",
        "See",
        "see:tail",
        """Show what happened, oldest first; with -f also what happens from now on.

$ agenthub tail -f
$ agenthub tail --since 2h --role backend
$ agenthub tail --since 24h --json > day.ndjson""",
    ),
    Command(
        "attach",
        "See",
        "attach:attach",
        """Show what a role says and does, as it happens. Ctrl-C ends the watching, never the work.

$ agenthub attach backend
$ agenthub attach backend --json | jq -r 'select(.kind == "text").text'
$ agenthub attach backend --claude     the line that opens a copy of its conversation in Claude Code

It begins with the recent past. Of tools it shows a few words, never their whole input or result.""",
    ),
    Command(
        "trace",
        "See",
        "trace:trace",
        """Show every stage of a message and of all that it caused, as a tree: waited, model calls, steps, cost.

$ agenthub trace 1b2c
$ agenthub trace 1b2c3d4e -f
$ agenthub trace 1b2c3d4e --json

The id that `agenthub send` prints, or its beginning; also of a message that waits, or is dead. Times count from
when it was stored. Exit codes: 0 ok, 2 less than four characters, 3 no such message.""",
    ),
    Command(
        "inbox ls",
        "See",
        "see:inbox_ls",
        """List what waits in a role's inbox, most urgent first, oldest first, then what is put off. Nothing is taken.

$ agenthub inbox ls backend

STATE says of what is put off what it waits for, and until when; in JSON that is `stored.put_off`.""",
    ),
    Command(
        "inbox peek",
        "See",
        "see:inbox_peek",
        """Print the next messages of a role's inbox in full, or one that waits by its id. Nothing is taken.

$ agenthub inbox peek backend -n 3
$ agenthub inbox peek 3f2a8c11          the one with this id, in whose inbox it may be""",
    ),
    Command(
        "logs",
        "See",
        "see:logs",
        """Show the log of a role's process; also of `supervisor`, `rehearsal` and `nats` (of a cluster `nats.n0`).

$ agenthub logs backend -f""",
    ),
    Command(
        "check",
        "See",
        "check:check",
        """Say in one line whether the processes are well, for monitors and for HEALTHCHECK of a container.

$ agenthub check                    those of this machine; where none runs, all of the hub by their heartbeats
$ agenthub check --role backend
$ agenthub check --ready            fail also if one lives and cannot work, as while the broker is away

On this machine each process is asked itself, without the broker: one that waits for it is well.
Exit codes: 0 well, 1 something is not, 3 no such role, 4 no hub.""",
    ),
    Command(
        "learnings ls",
        "See",
        "learnings:learnings_ls",
        """List what roles learned: from whom, how far others trust it, in whose policy it is.

$ agenthub learnings ls
$ agenthub learnings ls --standing quarantined   what waits for your word
$ agenthub learnings ls --role backend --domain sql --json=id,state,trust,trigger

Trust is earned with each role: 50 % at the start, in its policy from 70 % on. docs/learning.md has the rule.""",
    ),
    Command(
        "learnings show",
        "See",
        "learnings:learnings_show",
        """Show one learning: its words, what shows it, and what each role thinks of it.

$ agenthub learnings show 4f1c

Exit codes: 0 shown, 3 no such learning, 4 no hub.""",
    ),
    Command(
        "learnings roles",
        "See",
        "learnings:learnings_roles",
        """Show how far each role is trusted with its kinds of work: done and shown, failed, asked for again.

$ agenthub learnings roles
$ agenthub learnings roles --json=role,skill,score

Of the last 30 days; agents see the same by the tool `find_colleague`.""",
    ),
    Command(
        "schedule ls",
        "See",
        "schedule:schedule_ls",
        """List schedules: of role files, of agenthub.toml, and what was added; with their next five times.

$ agenthub schedule ls
$ agenthub schedule ls --role qa --json=id,coming""",
    ),
    Command(
        "meeting ls",
        "See",
        "meeting:meeting_ls",
        """List meetings, the newest first: how far each has come, how much was decided.

$ agenthub meeting ls""",
    ),
    Command(
        "meeting show",
        "See",
        "meeting:meeting_show",
        """Print the minutes of a meeting, as far as it has come.

$ agenthub meeting show standup-2026-11-27-0900

Exit codes: 0 shown, 3 no such meeting, 4 no hub.""",
    ),
)
