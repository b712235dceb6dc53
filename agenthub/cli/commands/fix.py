"""Commands of the group Fix: what went wrong or must be decided by a person."""

from __future__ import annotations

from agenthub.cli.commands.entry import Command

COMMANDS = (
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
)
