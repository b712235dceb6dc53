"""Commands of the group Run: start and stop an organization, or one part of it."""

from __future__ import annotations

from agenthub.cli.commands.entry import Command

COMMANDS = (
    Command(
        "init",
        "Run",
        "setup:init",
        """Write what an organization needs to begin with: agenthub.toml, roles, a compose file, .mcp.json.

$ agenthub init                                five roles of a startup, in this folder
$ agenthub init acme --template pair           a lead and a builder, in the folder acme
$ agenthub init --from .claude/agents          with the agents that you have

Nothing that is there is overwritten without --force; to an .mcp.json that is there our server is added.
Exit codes: 0 ok, 2 something cannot be read, 3 no such template.""",
    ),
    Command(
        "demo",
        "Run",
        "run:demo",
        """Start an organization on the rehearsal model, give its head a directive, watch it work, stop everything.

$ agenthub demo
$ agenthub demo "Cut our cloud bill by a third" --seed 3

Needs no key and costs nothing: the model is a local endpoint that plays the roles over the real API.""",
    ),
    Command(
        "up",
        "Run",
        "run:up",
        """Start the organization: a NATS server unless one is configured, and a process for each role.

$ agenthub up                  in the foreground; Ctrl-C lets each role finish, a second one ends at once
$ agenthub up -d --wait        in the background; returns when all roles work
$ agenthub up --rehearse       with the rehearsal model: no key, no cost
$ agenthub up --cluster 3      on three NATS servers that replicate everything, for a trial on this machine

It talks to Claude if ANTHROPIC_API_KEY is set, and rehearses otherwise.""",
    ),
    Command(
        "down",
        "Run",
        "stop:down",
        """Let each role finish the message it works on, then stop everything and prove that nothing is left.

$ agenthub down
$ agenthub down --now

What is not finished is not lost: it goes on at the next `agenthub up`.""",
    ),
    Command(
        "role",
        "Run",
        "run:role",
        """Run one role in the foreground against a NATS server, as a container does. SIGTERM lets it finish.

$ agenthub role backend --nats nats://nats:4222

The queues must exist: `agenthub provision` makes them. Several copies of a role with `replicas` that share a state
folder take one number each. One whose event loop stands still ends itself, so that the platform starts it again.""",
    ),
    Command(
        "lead",
        "Run",
        "run:lead",
        """Do what is done once for the whole organization, and nothing else: look after roles, remind, fire schedules.

$ agenthub lead --nats nats://nats:4222

Any role does that beside its work if the leader's key is there; where each role has only its own key, as in the compose
file, this does it, without a model and without tools. Several take turns. SIGTERM ends it.""",
    ),
    Command(
        "rehearsal",
        "Run",
        "run:rehearsal",
        """Run the rehearsal model, which stands in for Claude, in the foreground: for roles that run on their own.

$ agenthub rehearsal --port 8090
$ AGENTHUB_REHEARSE=true AGENTHUB_MODEL_URL=http://127.0.0.1:8090 agenthub role qa --nats nats://127.0.0.1:4222

`agenthub up --rehearse` starts one by itself.""",
    ),
    Command(
        "schedule add",
        "Run",
        "schedule:schedule_add",
        """Have a role get a message at given times. It is sent by plain code; nothing to do costs nothing.

$ agenthub schedule add audit --to qa --cron "0 9 * * 1-5" --zone Europe/Berlin --text "Audit what was merged"
$ agenthub schedule add review --to cto --every 2h --news completed --text "Review what was done since"
$ agenthub schedule add launch --to ceo --at "2026-12-24 18:00" --text "Launch"

Exit codes: 0 added, 2 the times make no sense, 3 no such role, 4 no hub, 6 the name is taken.""",
    ),
    Command(
        "schedule run",
        "Run",
        "schedule:schedule_run",
        """Fire a schedule now, whatever its condition says.

$ agenthub schedule run qa.smoke

Exit codes: 0 sent, 3 no such schedule, 4 no hub.""",
    ),
)
