"""Commands of the group Talk: say something to roles, and hear their answers."""

from __future__ import annotations

from agenthub.cli.commands.entry import Command

COMMANDS = (
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
        """List the tool calls and questions of roles that wait for your decision, or show one in full.

$ agenthub approvals
$ agenthub approvals 3f2a91c0         all of one: each argument of the call whole, why you are asked
$ agenthub approvals --role backend --json=id,tool,input

What nobody decides within `approval_within_s` is rejected; the role goes on and says so.
Exit codes: 0 ok, 3 no such role or decision, 4 no hub, 6 it is decided already.""",
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
        "vote",
        "Talk",
        "polls:vote",
        """Have roles vote, and print what they decided: only that on stdout, who voted for what on stderr.

$ agenthub vote "Do we ship on Friday?" --voters @cto --quorum 2/3 --within 60s
$ agenthub vote "Which store?" --options postgres,sqlite,none --voters backend,qa,?skill=sql
$ agenthub vote @question.md --json

The option with most votes wins if enough of the voters voted; a tie decides nothing. Words that are no option do not
count. What is decided is said on the topic `decisions.vote`.
Exit codes: 0 decided, 2 no such quorum, 3 nobody is meant, 4 no hub, 6 a person is asked, 7 no quorum, or a tie.""",
    ),
    Command(
        "auction",
        "Talk",
        "polls:auction",
        """Have roles bid for a task and give it to the best: by cost, time, confidence and what the bidder has shown.

$ agenthub auction "Move the orders to the new schema" --bidders '?skill=sql' --close 20s
$ agenthub auction @brief.md --bidders backend,ops --json

Prints the winner, who has the task as a directive when this returns; the others hear that it is not theirs.
Exit codes: 0 it is handed out, 3 nobody is meant, 4 no hub, 6 a person is asked, 7 nobody bid.""",
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
        "learnings share",
        "Talk",
        "learnings:learnings_share",
        """Publish a learning in your name. Under 200 tokens; each role tries it before it trusts it.

$ agenthub learnings share --trigger "A migration adds a column to a large table" --domain sql \\
      --approach "Add it as NULL, fill it in batches" --outcome "No lock over 1 s" --evidence 1b2c3d4e

Exit codes: 0 published, 2 something is wrong with it, 4 no hub.""",
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
)
