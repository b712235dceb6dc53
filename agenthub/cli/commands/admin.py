"""Commands of the group Admin: configuration, schemas, and other programs."""

from __future__ import annotations

from agenthub.cli.commands.entry import Command

COMMANDS = (
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

Running it twice changes nothing the second time. `agenthub up` does it by itself.

Queues of a role whose file is gone are deleted, unless it still runs, messages wait for it or it waits for answers:
then they stay, and what to do is said.""",
    ),
    Command(
        "grants ls",
        "Admin",
        "grants:grants_ls",
        """List what persons let roles do beyond their files, and until when.

$ agenthub grants ls
$ agenthub grants ls --role backend --all

Roles ask for grants with `request_grant`: `agenthub approvals` lists what waits for your word.""",
    ),
    Command(
        "grants add",
        "Admin",
        "grants:grants_add",
        """Let a role do something beyond its files, for a while.

$ agenthub grants add backend topic decisions.api --for 8h
$ agenthub grants add backend tool 'Bash(git push:*)' --for 1d --reason "release week"
$ agenthub grants add qa memory backend --for 2h
$ agenthub grants add backend spend usd_day=2

A tool is called without a question then; what is denied stays denied. On a topic NATS lets the role publish.
Exit codes: 0 granted, 2 makes no sense, 3 no such role or limit, 4 no hub.""",
    ),
    Command(
        "grants revoke",
        "Admin",
        "grants:grants_revoke",
        """Take a grant back; it counts no more from then on.

$ agenthub grants revoke 3f2a91c0

Exit codes: 0 revoked, 3 no such grant, 6 it is over already, or money.""",
    ),
    Command(
        "keys ls",
        "Admin",
        "keys:ls",
        """List by which keys roles, people and programs come in: the public halves, and whether the seed is here.

$ agenthub keys ls

`agenthub up` and `agenthub provision` make what is missing.""",
    ),
    Command(
        "keys deal",
        "Admin",
        "keys:deal",
        """Make what keys are missing, and give each process a folder with its own key only; needs no broker.

$ agenthub keys deal ./dealt                                  dealt/backend/keys, dealt/leader/keys, ...
$ agenthub keys deal /deal --auth /auth/authorization.conf --owner 10001:10001

For containers and machines that must not have the keys of others. `leader` is for `agenthub lead`, `cli` speaks for the
operator, `provision` makes queues and has servers read their permissions again. --auth writes who may come in, for
`include` in the configuration of an external nats-server.""",
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
        "audit ls",
        "Admin",
        "audit:ls",
        """List who did what, oldest first: each message that was stored, and what guards and people decided.

$ agenthub audit ls --since 1h
$ agenthub audit ls --who backend --what task_assignment -n 20

Who is what the broker enforces, not what a message says. Kept for thirty days.""",
    ),
    Command(
        "audit export",
        "Admin",
        "audit:export",
        """Write the record into a file, a JSON line for each entry, chained by hashes; goes on where the file ends.

$ agenthub audit export audit.jsonl            from cron, nightly: only what is new is added

Prints the hash of the last line. Noted down elsewhere, it shows any later change. Exit codes: 0 ok, 2 the file is not
whole or cannot be written, 4 no hub.""",
    ),
    Command(
        "audit verify",
        "Admin",
        "audit:verify",
        """See whether anything is missing from the record, or was changed in an export of it.

$ agenthub audit verify                        at the broker: no entry and no message is missing
$ agenthub audit verify audit.jsonl --ends-with 5f2c…

What was stored in the last moment before a server without replicas crashed may be missing, and is told.
Exit codes: 0 whole, 1 gaps, 2 the file cannot be read, 4 no hub.""",
    ),
    Command(
        "completion",
        "Admin",
        "setup:completion",
        """Print what makes a shell complete commands, options, and names: of roles, teams, skills, contexts.

$ eval "$(agenthub completion bash)"           in ~/.bashrc; zsh likewise
$ agenthub completion fish | source            in ~/.config/fish/config.fish

Names are those of the role files from the current folder up; no hub need run. A script that an earlier version printed
into a file completes no names: print it anew.""",
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
