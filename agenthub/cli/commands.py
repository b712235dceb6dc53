"""Every command: its group, where its code is, and what its help says, examples included.

Here and not in the docstrings, so that `agenthub --help` imports no command.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command of the CLI."""

    name: str
    """As it is typed, `inbox ls` for the command of a group."""
    group: str
    code: str
    """`module:function` below `agenthub.cli`."""
    text: str
    """First line for the list of commands, the rest for `--help`."""


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
        "rehearsal",
        "Run",
        "run:rehearsal",
        """Run the rehearsal model, which stands in for Claude, in the foreground: for roles that run on their own.

$ agenthub rehearsal --port 8090
$ AGENTHUB_REHEARSE=true AGENTHUB_MODEL_URL=http://127.0.0.1:8090 agenthub role qa --nats nats://127.0.0.1:4222

`agenthub up --rehearse` starts one by itself.""",
    ),
    Command(
        "send",
        "Talk",
        "talk:send",
        """Send a role a directive; it is stored in its inbox when this returns.

$ agenthub send ceo "Ship dark mode in two weeks"
$ agenthub send backend "The API is down" -p critical --wait
$ git diff | agenthub send qa -s "Review this" -
$ agenthub send backend "Import this" --attach orders.csv --attach schema.sql
$ agenthub send cto "Report the incident" --expect-reply --within 2h
$ agenthub send backend "Fix the login" --check "pytest -q" --verify qa --wait

Exit codes: 0 stored (with --wait: done), 1 ended otherwise, 3 no such role, 4 no hub, 5 timed out, 6 refused,
7 done, but unverified.""",
    ),
    Command(
        "ask",
        "Talk",
        "talk:ask",
        """Ask a role a question, wait, and print the answer: only that on stdout, who and how long on stderr.

$ agenthub ask backend "Which port does the API listen on?" --timeout 10m
$ git log --oneline -20 | agenthub ask pm -

Exit codes: 0 done, 1 ended otherwise, 3 no such role, 4 no hub, 5 timed out (the role goes on: `agenthub pending`),
6 refused.""",
    ),
    Command(
        "attachment",
        "Talk",
        "talk:attachment",
        """Fetch a file that came with a message or a report; `inbox peek` and `trace` show the keys.

$ agenthub attachment backend.3f2a91c0 --output report.pdf
$ agenthub attachment backend.3f2a91c0 > report.pdf

Files are kept for thirty days. Exit codes: 0 ok, 3 no such file, 4 no hub.""",
    ),
    Command(
        "pending",
        "Talk",
        "pending:app",
        """Show who owes whom an answer: since when, due when, how often it was reminded, what the debtor does now.

$ agenthub pending
$ agenthub pending --overdue --role backend
$ agenthub pending drop 3f2a91c0      forget that you expect an answer

Overdue answers are asked for after 30, 60, 120 and 240 s; then the managers hear of it, and in the end you.""",
    ),
    Command(
        "approvals",
        "Talk",
        "approvals:approvals",
        """List the tool calls and questions of roles that wait for your decision.

$ agenthub approvals
$ agenthub approvals --role backend --json=id,tool,input

What nobody decides within `approval_within_s` is rejected; the role goes on and says so.""",
    ),
    Command(
        "approve",
        "Talk",
        "approvals:approve",
        """Let a tool call be made: once, or with --always whenever the role makes such a call.

$ agenthub approve 3f2a91c0
$ agenthub approve 3f2a91c0 --always

Exit codes: 0 stored, 3 no such approval, 4 no hub, 6 it is decided already.""",
    ),
    Command(
        "reject",
        "Talk",
        "approvals:reject",
        """Do not let a tool call be made; the role reads the reason and goes on.

$ agenthub reject 3f2a91c0 --reason "Not on a Friday"

Exit codes: 0 stored, 3 no such approval, 4 no hub, 6 it is decided already.""",
    ),
    Command(
        "reply",
        "Talk",
        "approvals:reply",
        """Answer a question that a role has asked with `ask_human`; it goes on with the answer.

$ agenthub reply 3f2a91c0 "Take the second one"
$ agenthub reply 3f2a91c0 2

Exit codes: 0 stored, 3 no such question, 4 no hub, 6 it is decided already, or the answer is none of the choices.""",
    ),
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
        "broadcast",
        "Talk",
        "broadcast:broadcast",
        """Tell all roles something, or a team, or those with a skill; stored in their inboxes when this returns.

$ agenthub broadcast "The office is closed on Friday"
$ agenthub broadcast --to @cto -p high @freeze.md        a team, from a file
$ agenthub broadcast --to "?skill=sql" "The schema changes tonight"

An announcement below high wakes no model: a role reads it with its next turn.
Exit codes: 0 stored, 3 nobody is meant, 4 no hub, 6 too large, 7 not stored for all.""",
    ),
    Command(
        "publish",
        "Talk",
        "broadcast:publish",
        """Say something on a topic; it is kept for each role that subscribes until that has read it.

$ agenthub publish status.deploy "1.9 is on staging"
$ agenthub publish decisions.api @api.json
$ make test 2>&1 | agenthub publish status.build -

Exit codes: 0 said, 3 no such topic, 4 no hub, 6 too large.""",
    ),
    Command(
        "listen",
        "Talk",
        "listen:listen",
        """Take part as a person or a program: a line of JSON for each message, out of the inbox once it is printed.

$ agenthub listen you                             what roles and programs write to the operator
$ agenthub listen you --once --for 10m            the next message; exit code 5 if none comes
$ agenthub listen topic:status.deploy             what is said on a topic from now on

Several listeners of one inbox share its messages. What roles ask you to decide stays in `agenthub approvals`.
Exit codes: 0 ok, 3 no such inbox, 4 no hub, 5 none came (--once), 6 it is a role's inbox.""",
    ),
    Command(
        "ping",
        "Talk",
        "who:ping",
        """Have a role's process answer, and print how long it took. No model is called; nothing is stored.

$ agenthub ping backend
$ agenthub ping backend --timeout 1s --json

Exit codes: 0 it answered, 3 no such role, 4 no hub, 5 no answer.""",
    ),
    Command(
        "pause",
        "Steer",
        "steer:pause",
        """Have a role take nothing new; it finishes what it works on, and what comes in waits.

$ agenthub pause backend --reason "too expensive"
$ agenthub pause --all

It holds until `agenthub resume`, also after restarts of the role and of the hub. Exit codes: 0 paused, 2 neither a role
nor --all, 3 no such role, 4 no hub, 7 some process has not answered yet.""",
    ),
    Command(
        "resume",
        "Steer",
        "steer:resume",
        """Let a paused role go on.

$ agenthub resume backend
$ agenthub resume --all

Exit codes: 0 goes on, 2 neither a role nor --all, 3 no such role, 4 no hub, 7 some process has not answered yet.""",
    ),
    Command(
        "estop",
        "Steer",
        "steer:estop",
        """Stop everything, or one role, at its next step: no model is called any more, and nothing is lost.

$ agenthub estop --reason "the bill explodes"
$ agenthub estop backend

It asks nothing. Processes that start come up stopped, also after the hub was down. `agenthub thaw` lets everything go
on where it was. Exit codes: 0 stopped, 3 no such role, 4 no hub, 7 some process has not answered yet.""",
    ),
    Command(
        "thaw",
        "Steer",
        "steer:thaw",
        """Let everything, or one role, go on where it was stopped.

$ agenthub thaw
$ agenthub thaw backend       only this one; the others stand still

Exit codes: 0 goes on, 3 no such role, 4 no hub, 7 some process has not answered yet.""",
    ),
    Command(
        "cancel",
        "Steer",
        "steer:cancel",
        """End the message that a role works on, as failed, within a second; or put it back. It asks before.

$ agenthub cancel backend --reason "the customer left"
$ agenthub cancel backend --requeue      it goes back behind the others, and goes on later from its last step

Who asked is told who ended it and why. Exit codes: 0 ended, 1 not confirmed, 2 no terminal to ask at, 3 no such role,
or it is down, 4 no hub, 6 it works on nothing, 7 no answer yet.""",
    ),
    Command(
        "nudge",
        "Steer",
        "steer:nudge",
        """Have the model of a role that works read some words at its next step. It wakes nobody.

$ agenthub nudge backend "The log of the deployment says more"
$ agenthub nudge backend

Exit codes: 0 told, 3 no such role, or it is down, 4 no hub, 6 it works on nothing, 7 no answer yet.""",
    ),
    Command(
        "restart",
        "Steer",
        "steer:restart",
        """Have the processes of a role end after their message and be started again; also one that was left alone.

$ agenthub restart backend
$ agenthub restart backend --now      without waiting; the message in hand goes on from its last step

In a container the process ends and the platform starts it.
Exit codes: 0 asked, 3 no such role, 4 no hub, 7 no answer yet.""",
    ),
    Command(
        "inbox move",
        "Steer",
        "rearrange:move",
        """Have another role do what waits for this one, exactly once; who asked is answered on its behalf.

$ agenthub inbox move backend 3f2a --to qa

Exit codes: 0 moved, 3 no such role or message, 4 no hub, 6 it is worked on, has ended, or is for this role alone,
7 no answer yet: it moves when it comes up.""",
    ),
    Command(
        "inbox requeue",
        "Steer",
        "rearrange:requeue",
        """Put a waiting message behind the others of its priority.

$ agenthub inbox requeue backend 3f2a

Exit codes: 0 done, 3 no such role or message, 4 no hub, 6 it is worked on. What is in hand: `cancel --requeue`.""",
    ),
    Command(
        "inbox reprioritize",
        "Steer",
        "rearrange:reprioritize",
        """Give a waiting message another priority.

$ agenthub inbox reprioritize backend 3f2a critical

Exit codes: 0 done, 2 no such priority, 3 no such role or message, 4 no hub, 6 it is worked on, or has it already.""",
    ),
    Command(
        "inbox cancel",
        "Steer",
        "rearrange:cancel",
        """End a waiting message as failed; its sender is told who did it and why. It asks before.

$ agenthub inbox cancel backend 3f2a --reason "not needed any more"

Exit codes: 0 ended, 1 not confirmed, 2 no terminal to ask at, 3 no such role or message, 4 no hub, 6 it asks for no
work, 7 no answer yet: it ends when it comes up.""",
    ),
    Command(
        "ps",
        "See",
        "ps:ps",
        """Show each role: state, what it does now, since when, what waits, tokens and cost of today, heartbeat.

$ agenthub ps
$ agenthub ps --json=role,state,doing

Waiting is counted by priority: critical, high, medium, low. Costs are list prices.""",
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
        """List what waits in a role's inbox, most urgent first, oldest first. Nothing is taken.

$ agenthub inbox ls backend""",
    ),
    Command(
        "inbox peek",
        "See",
        "see:inbox_peek",
        """Print the next messages of a role's inbox in full. Nothing is taken.

$ agenthub inbox peek backend -n 3""",
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
        "dlq ls",
        "Fix",
        "dlq:ls",
        """List the dead letters, oldest first: what was buried, when, after how many tries, and why.

$ agenthub dlq ls --role backend --since 24h""",
    ),
    Command(
        "dlq late",
        "Fix",
        "dlq:late",
        """List results that came too late: another process had ended the message, or had taken the role.

$ agenthub dlq late --json

They count for nothing and change nothing; they are kept for a person to look at.""",
    ),
    Command(
        "dlq show",
        "Fix",
        "dlq:show",
        """Print everything about one dead letter: reason, traceback, headers, earlier lives, the message.

$ agenthub dlq show 1b2c3d4e
$ agenthub dlq show 1b2c3d4e --body > message.json

The beginning of an id is enough. Exit codes: 0 ok, 3 no such letter.""",
    ),
    Command(
        "dlq replay",
        "Fix",
        "dlq:replay",
        """Give dead letters another life: each goes into its role's inbox as a new message of the same sender.

$ agenthub dlq replay 1b2c3d4e
$ agenthub dlq replay 1b2c3d4e --body message.json     with another message instead
$ agenthub dlq replay --all --role backend             after a bug was mended

The letter stays, marked as replayed; a second replay needs --again. A deadline that has passed is taken off.
Exit codes: 0 stored, 1 some were not, 2 the body is no message, 3 no such letter, 6 replayed already, or forged.""",
    ),
    Command(
        "dlq drop",
        "Fix",
        "dlq:drop",
        """Throw dead letters away for good. It asks before, unless --yes is given.

$ agenthub dlq drop 1b2c3d4e
$ agenthub dlq drop --all --role backend --yes

Exit codes: 0 dropped, 1 not confirmed, 2 no terminal to ask at, 3 no such letter.""",
    ),
    Command(
        "doctor",
        "Fix",
        "doctor:doctor",
        """Look at everything that a hub needs, and say what is wrong, why, and what to do.

$ agenthub doctor

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.""",
    ),
    Command(
        "budget ls",
        "Fix",
        "budget:budget_ls",
        """Show what each role and the organization have spent of each of their limits, and who allowed more.

$ agenthub budget ls
$ agenthub budget ls --json=account,limit,spent,amount

`organization` is all roles together. HELD is set aside for calls that run. Windows are UTC.""",
    ),
    Command(
        "budget set",
        "Fix",
        "budget:budget_set",
        """Set limits of a role or of the organization from now on, above what the files say.

$ agenthub budget set backend usd_day=8 tokens_hour=2M
$ agenthub budget set organization usd_month=unlimited
$ agenthub budget set backend usd_day=file           what the files say holds again

What waits for money is looked at at once. Exit codes: 0 set, 2 no such limit, 3 no such account, 4 no hub.""",
    ),
    Command(
        "budget allow",
        "Fix",
        "budget:budget_allow",
        """Allow a role or the organization an extra amount in the current window; it is recorded who did.

$ agenthub budget allow backend usd_day=2
$ agenthub budget allow organization usd_day=10 --for 2h

It ends with the window at the latest. Exit codes: 0 allowed, 2 no such limit, 3 no such account, 4 no hub.""",
    ),
    Command(
        "breaker ls",
        "Fix",
        "breaker:breaker_ls",
        """List the circuit breakers of roles and model accounts that something was held against: state, why, next try.

$ agenthub breaker ls""",
    ),
    Command(
        "breaker reset",
        "Fix",
        "breaker:breaker_reset",
        """Close a circuit breaker by hand; what waits for a model is looked at at once.

$ agenthub breaker reset backend

Exit codes: 0 closed, 3 no such breaker, 4 no hub.""",
    ),
    Command(
        "breaker trip",
        "Fix",
        "breaker:breaker_trip",
        """Open a circuit breaker by hand: no new turn and no model call until its time is over; messages wait.

$ agenthub breaker trip backend --for 2h --reason "It breaks the build"

Exit codes: 0 open, 2 no length of time, 3 no such breaker, 4 no hub.""",
    ),
    Command(
        "traces ls",
        "Fix",
        "traces:traces_ls",
        """List the traces that were parked in the last week: why, by whom, what they took, what was decided.

$ agenthub traces ls
$ agenthub traces ls --json=trace_id,state,reason

A trace is all that one directive caused. It is parked when it goes in a circle, or past its limits.""",
    ),
    Command(
        "traces release",
        "Fix",
        "traces:traces_release",
        """Let a parked trace go on, with as many messages and as much money again; what waits is looked at at once.

$ agenthub traces release 4f1c09ab

The first letters of its id are enough. Exit codes: 0 goes on, 3 no such trace, 4 no hub, 6 it is not parked.""",
    ),
    Command(
        "traces end",
        "Fix",
        "traces:traces_end",
        """End a trace: whatever of it waits or comes later is completed as refused, with the reason. Parked or not.

$ agenthub traces end 4f1c09ab
$ agenthub traces end 4f1c09ab --reason "They discuss the colour of the shed"

A turn that runs at this moment comes to its end. Exit codes: 0 ended, 3 no such trace, 4 no hub.""",
    ),
    Command(
        "learnings ls",
        "See",
        "learnings:learnings_ls",
        """List what roles learned: from whom, how far others trust it, in whose policy it is.

$ agenthub learnings ls
$ agenthub learnings ls --state quarantined      what waits for your word
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
        "learnings share",
        "Talk",
        "learnings:learnings_share",
        """Publish a learning in your name. Under 200 tokens; each role tries it before it trusts it.

$ agenthub learnings share --trigger "A migration adds a column to a large table" --domain sql \\
      --approach "Add it as NULL, fill it in batches" --outcome "No lock over 1 s" --evidence 1b2c3d4e

Exit codes: 0 published, 2 something is wrong with it, 4 no hub.""",
    ),
    Command(
        "learnings confirm",
        "Fix",
        "learnings:learnings_confirm",
        """Say that a learning held: one confirmation more with all roles, or with some.

$ agenthub learnings confirm 4f1c --role qa --reason "It found the bug in 1.9"

Exit codes: 0 said, 3 no such learning or role, 4 no hub.""",
    ),
    Command(
        "learnings refute",
        "Fix",
        "learnings:learnings_refute",
        """Say that a learning did not hold: one contradiction more, which weighs double.

$ agenthub learnings refute 4f1c --reason "Only true before version 12"

Exit codes: 0 said, 3 no such learning or role, 4 no hub.""",
    ),
    Command(
        "learnings promote",
        "Fix",
        "learnings:learnings_promote",
        """Put a learning into the policy of all roles, or of some, whatever they found.

$ agenthub learnings promote 4f1c --role backend --role qa
$ agenthub learnings promote 4f1c --deny "Bash(git push --force:*)"     only you may forbid

Exit codes: 0 said, 2 no such rule, 3 no such learning or role, 4 no hub.""",
    ),
    Command(
        "learnings demote",
        "Fix",
        "learnings:learnings_demote",
        """Take a learning out of the policy of all roles, or of some; it stays a hint.

$ agenthub learnings demote 4f1c --role qa

Exit codes: 0 said, 3 no such learning or role, 4 no hub.""",
    ),
    Command(
        "learnings quarantine",
        "Fix",
        "learnings:learnings_quarantine",
        """Keep a learning from the models of all roles, or of some, until you release it.

$ agenthub learnings quarantine 4f1c --reason "It was written for the old API"

Exit codes: 0 said, 3 no such learning or role, 4 no hub.""",
    ),
    Command(
        "learnings release",
        "Fix",
        "learnings:learnings_release",
        """Leave a learning to what roles find: out of quarantine, and without your word above theirs.

$ agenthub learnings release 4f1c

Exit codes: 0 said, 3 no such learning or role, 4 no hub.""",
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
    Command(
        "schedule pause",
        "Fix",
        "schedule:schedule_pause",
        """Have a schedule fire no more until you resume it. What is due meanwhile is not made up for.

$ agenthub schedule pause qa.smoke

Exit codes: 0 paused, 3 no such schedule, 4 no hub.""",
    ),
    Command(
        "schedule resume",
        "Fix",
        "schedule:schedule_resume",
        """Have a paused schedule fire again.

$ agenthub schedule resume qa.smoke

Exit codes: 0 resumed, 3 no such schedule, 4 no hub.""",
    ),
    Command(
        "schedule rm",
        "Fix",
        "schedule:schedule_rm",
        """Remove a schedule that you or a role added. What stands in a file is removed there.

$ agenthub schedule rm you.audit

Exit codes: 0 removed, 3 no such schedule, 4 no hub, 6 it stands in a file.""",
    ),
    Command(
        "meeting start",
        "Talk",
        "meeting:meeting_start",
        """Convene a meeting of roles: rounds with a time box, then the chair decides and hands out what is to be done.

$ agenthub meeting start planning "The next release" --members cto,backend,qa
$ agenthub meeting start incident "Logins fail" --chair cto --within 5m

Who is missing holds nothing up. Exit codes: 0 convened, 2 no such kind, 3 no such role, 4 no hub.""",
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
    Command(
        "roles check",
        "Admin",
        "admin:roles_check",
        """Check all role files and agenthub.toml; prints each problem with its file and line.

$ agenthub roles check

Exit codes: 0 fine (there may be warnings), 2 something is wrong.""",
    ),
    Command(
        "roles ls",
        "Admin",
        "admin:roles_ls",
        """List the roles as an org chart.

$ agenthub roles ls""",
    ),
    Command(
        "provision",
        "Admin",
        "admin:provision",
        """Make keys, and create or adapt streams, consumers, buckets and permissions for roles; prints what changes.

$ agenthub provision --nats nats://10.0.0.5:4222 --dry-run
$ agenthub provision --print-auth > authorization.conf   # to be included by an external nats-server

Our own servers read changed permissions without a restart. Keys lie in .agenthub/keys, readable by you alone.

Running it twice changes nothing the second time. `agenthub up` does it by itself.""",
    ),
    Command(
        "compose",
        "Admin",
        "deploy:compose",
        """Print a compose file for the organization: NATS servers, a container for each role, health, limits.

$ agenthub compose > compose.yaml            three NATS servers: one may be lost
$ agenthub compose --small > compose.yaml    one
$ agenthub compose --check compose.yaml      whether a file is as it would be written now

See docs/operations.md. Exit codes: 0 ok, 1 the file differs, 2 something is wrong in the configuration.""",
    ),
    Command(
        "roles show",
        "Admin",
        "roles:roles_show",
        """Print a role as it works: its file, its terms with all defaults filled in, what it is told.

$ agenthub roles show backend
$ agenthub roles show backend --json=budget,terms""",
    ),
    Command(
        "roles new",
        "Admin",
        "roles:roles_new",
        """Write a role file to begin with.

$ agenthub roles new data --reports-to cto --skills "sql, dbt" --description "Keeps the warehouse; use for reports."

Exit codes: 0 written, 2 no name, 3 no such manager, 6 the file is there (--force replaces it).""",
    ),
    Command(
        "roles import",
        "Admin",
        "roles:roles_import",
        """Copy agent files into roles/: Claude Code's, and AGENTS.md of a company package.

$ agenthub roles import ~/.claude/agents --dry-run
$ agenthub roles import ./company

Exit codes: 0 ok, 2 one cannot be read: then none is written, 6 all were there (--force replaces them).""",
    ),
    Command(
        "roles export",
        "Admin",
        "roles:roles_export",
        """Write roles as Claude Code's agent files, without what only agenthub reads.

$ agenthub roles export                        all, into .claude/agents
$ agenthub roles export qa --to ~/.claude/agents

Exit codes: 0 ok, 3 no such role, 6 all were there (--force replaces them).""",
    ),
    Command(
        "config",
        "Admin",
        "setup:config",
        """Print every setting as it holds now.

$ agenthub config --show-origin                and where each comes from: flag, variable, file and line, default
$ agenthub config --json=key,value""",
    ),
    Command(
        "schema",
        "Admin",
        "setup:schema",
        """Print the JSON Schema of what a command prints with --json, of agenthub.toml, a role file or a message.

$ agenthub schema                              what there is
$ agenthub schema ps
$ agenthub schema config > .agenthub/schema.json

Errors have one schema for all commands: `agenthub schema error`.""",
    ),
    Command(
        "completion",
        "Admin",
        "setup:completion",
        """Print what makes a shell complete commands and options.

$ eval "$(agenthub completion bash)"           in ~/.bashrc; zsh likewise
$ agenthub completion fish | source            in ~/.config/fish/config.fish""",
    ),
    Command(
        "cheat",
        "Admin",
        "setup:cheat",
        """Print the commands that one needs most, by what one wants to do.""",
    ),
    Command(
        "mcp",
        "Admin",
        "mcp:mcp",
        """Offer the hub as MCP tools, for your own Claude Code or any other MCP client.

$ claude mcp add agenthub -- agenthub mcp      over stdin and stdout
$ agenthub mcp --read-only                     without the tools that send or decide
$ agenthub mcp --http :8765                    streamable HTTP on this machine, for who has .agenthub/mcp.token

Tools: hub_send, hub_ask, hub_reply, hub_inbox, hub_who, hub_tail, hub_trace, hub_approvals, hub_approve,
hub_reject, hub_pending, hub_cost; resources hub://roles/{name} and hub://messages/{id}. They speak for the operator.
Exit codes: 0 the client has left, 1 the port is taken, 2 usage, or `pip install 'agenthub[mcp]'` is missing.""",
    ),
    Command(
        "version",
        "Admin",
        "admin:version",
        """Print the versions of what runs here.""",
    ),
)
