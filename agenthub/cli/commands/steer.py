"""Commands of the group Steer: pause, stop, restart roles, and rearrange what they do."""

from __future__ import annotations

from agenthub.cli.commands.entry import Command

COMMANDS = (
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
        "restart:restart",
        """Have the processes of a role end after their message and be started again, by the role's file as it is now.

$ agenthub restart backend
$ agenthub restart backend --now      without waiting; the message in hand goes on from its last step
$ agenthub restart --all              every role, one after the other: all learn of a new one, and forget who is gone

It also starts a role that was left alone, or whose file came after the hub was started. What others know of a role, its
skills for example, they read at their own restart. In a container the process ends and the platform starts it.

A role whose file is gone ends for good behind its message, and its queues are deleted. If messages wait for it, or it
waits for answers, it stays and the command says so: `agenthub inbox move backend --all --to qa` gives them to another.

Exit codes: 0 asked, 1 it does not come up, or does not end, 2 a file is wrong, or neither a role nor --all, 3 no such
role, 4 no hub, 6 one without a file stays, 7 no answer yet.""",
    ),
    Command(
        "inbox move",
        "Steer",
        "rearrange:move",
        """Have another role do what waits for this one, exactly once; who asked is answered on its behalf.

$ agenthub inbox move backend 3f2a --to qa
$ agenthub inbox move backend --all --to qa     all that waits or is put off, as before a role is given up

Exit codes: 0 moved, 2 neither an id nor --all, 3 no such role or message, 4 no hub, 6 it is worked on, has ended, or is
for this role alone, 7 no answer yet: it moves when it comes up.""",
    ),
    Command(
        "inbox requeue",
        "Steer",
        "rearrange:requeue",
        """Put a waiting message behind the others of its priority; have one that is put off be looked at now.

$ agenthub inbox requeue backend 3f2a

Exit codes: 0 done, 3 no such role or message, 4 no hub, 6 it is worked on. What is in hand: `cancel --requeue`.""",
    ),
    Command(
        "inbox reprioritize",
        "Steer",
        "rearrange:reprioritize",
        """Give a waiting message another priority.

$ agenthub inbox reprioritize backend 3f2a critical

Exit codes: 0 done, 2 no such priority, 3 no such role or message, 4 no hub, 6 it is worked on or put off, or has
it already.""",
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
)
