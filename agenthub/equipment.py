"""What a role works with: the session that its settings ask for, and the tools that it may use."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import AsyncIterator, Callable, Sequence

from agenthub import schedules
from agenthub.acceptance import Acceptance
from agenthub.bus.buckets import Lease
from agenthub.bus.connection import Bus
from agenthub.coordination import Coordination
from agenthub.errors import ConfigError
from agenthub.guards.overrides import Overrides
from agenthub.guards.permissions import Permissions, offers
from agenthub.learning.candidates import Watch
from agenthub.learning.learner import Learner
from agenthub.learning.learner import Place as Learns
from agenthub.learning.policy import Policy
from agenthub.long_texts import LongTexts
from agenthub.masking import secret_variables
from agenthub.mcp_files import McpServer, servers_of
from agenthub.messages import now
from agenthub.notices import Notices
from agenthub.org.events import Events
from agenthub.org.grants import Grants
from agenthub.org.learned import Learned
from agenthub.org.own_work import OwnWork
from agenthub.org.track_record import TrackRecord
from agenthub.organization import Organization
from agenthub.permission_rules import split_rules
from agenthub.polls import Polls
from agenthub.roles import Role
from agenthub.sandbox import isolation, own, shell
from agenthub.scheduler import Check, Checked, Scheduler
from agenthub.secret_sources import known_secrets, with_files
from agenthub.sessions import prompts
from agenthub.sessions.anthropic import AnthropicModel
from agenthub.sessions.claude_code.place import Place, allowed
from agenthub.sessions.compaction import CompactAt
from agenthub.sessions.conversation import Conversation
from agenthub.sessions.journal import Journal
from agenthub.sessions.session import Session, Tool
from agenthub.settings import Settings
from agenthub.tools.attachments import attaching, attachment_tools
from agenthub.tools.checks import checking
from agenthub.tools.colleagues import colleague_tools
from agenthub.tools.commands import run
from agenthub.tools.grants import grant_tools
from agenthub.tools.learning import learning_tools
from agenthub.tools.long_messages import long_message_tools
from agenthub.tools.masked import masked
from agenthub.tools.mesh import mesh_tools
from agenthub.tools.notes import NOTES_TOOLS
from agenthub.tools.offer import has_shell, role_tools, sandbox_of, workspace_of
from agenthub.tools.people import people_tools
from agenthub.tools.permits import Permits
from agenthub.tools.polls import poll_tools
from agenthub.tools.recall import recall_tools
from agenthub.tools.schedule import schedule_tools
from agenthub.tools.topics import topic_tools
from agenthub.tools.working_copies import WorkingCopies
from agenthub.tools.workplace import OneFolder, Workplace
from agenthub.turn_gate import TurnGate


def workplace_of(settings: Settings, organization: Organization, name: str) -> Workplace:
    """Where the tools of a role work.

    Raises:
        ConfigError: If that shall be a repository, and there is none, or its session cannot do that.
    """
    role = organization.role(name)
    if not role.settings.repository:
        return OneFolder(workspace_of(name, settings.state))
    if organization.terms(name).session == "claude-code":
        raise ConfigError(
            f"`{name}` is played by Claude Code, which works in one folder: leave out `agenthub.repository`, or "
            "set `session: anthropic`."
        )
    return WorkingCopies(
        (settings.folder / role.settings.repository).resolve(), settings.state / "working-copies" / name,
        role=name, org=organization.org,
        sandbox=sandbox_of(role, workspace_of(name, settings.state)) if has_shell(role) else None,
    )  # fmt: skip


def session_for(
    settings: Settings,
    organization: Organization,
    name: str,
    key: str,
    bus: Bus,
    journal: Journal,
    coordination: Coordination,
    polls: Polls,
    lease: Lease,
    gate: TurnGate,
    mcp_tools: Sequence[Tool],
    mask: Callable[[str], str],
    texts: LongTexts,
    record: TrackRecord,
    learner: Learner,
    acceptance: Acceptance,
    place: Workplace,
    grants: Grants,
    *,
    is_urgent: Callable[[], bool],
) -> Session:
    """The session of a role.

    Args:
        key: Name of its process: that of the role, with a number behind it for a replica.
        mcp_tools: Tools of its MCP servers, which run.
        mask: Takes secrets out of what tools give back.
        texts: What came in and is too long to be shown at once.
        record: How the work of all roles ended.
        place: Where its tools work.
        grants: What persons let it do beyond its files.
        is_urgent: True while a critical message waits.
    """
    terms, role = organization.terms(name), organization.role(name)

    async def may_act() -> None:
        await lease.ensure()
        journal.check_alone()  # the lease may have come back, with what another process did meanwhile

    within_s = organization.defaults.approval_within_s
    with_others = [
        *mesh_tools(
            coordination,
            attach=attaching(bus, name, place),
            ask_within_s=terms.ask_within_s,
            judge=acceptance.judge,
            check_s=role.settings.limits.command_timeout_s,
            is_urgent=is_urgent,
        ),
        *poll_tools(polls, organization, name, ask_within_s=terms.ask_within_s),
        *people_tools(coordination, within_s=within_s),
        *grant_tools(coordination, within_s=within_s, is_rehearsal=settings.rehearse),
        *topic_tools(
            coordination,
            is_manager=organization.is_manager(name),
            granted=lambda: grants.known(name, "topic", now()),
        ),
        *attachment_tools(bus, place),
        *long_message_tools(texts),
        *colleague_tools(organization, name, record),
        *learning_tools(name, org=organization.org, bus=bus, learner=learner, mask=mask),
        *schedule_tools(name, organization, bus, clock=now),
        *recall_tools(organization.knowledge),
    ]
    permissions = _permissions(organization, role, frozenset([*(tool.name for tool in with_others), *NOTES_TOOLS]))
    permits = _permits(settings, organization, name, permissions, coordination, learner, grants)
    api_key = settings.api_key.get_secret_value() if settings.api_key else ""
    system = prompts.standing_instructions(organization, role)
    own_tools = role_tools(
        role, place, state=settings.state,
        readable=lambda: [grant.what for grant in grants.known(name, "memory", now())],
    )  # fmt: skip
    tools = [masked(tool, mask) for tool in (*with_others, *own_tools, *mcp_tools) if offers(permissions, tool.name)]

    def begins_with() -> str:
        return prompts.policy(learner.policy.shown())

    if terms.session == "claude-code":
        from agenthub.sessions.claude_code.session import ClaudeCodeSession  # imported late: few roles want it

        return ClaudeCodeSession(
            claude_code_place(settings, organization, name, key, system, api_key), journal,
            tools=tools, before_effect=may_act,
            before_call=gate.check, meter=gate, may_call=permits.check, begins_with=begins_with,
        )  # fmt: skip
    model = AnthropicModel(
        terms.model,
        api_key=api_key,
        base_url=settings.model_url or None,
        max_output_tokens=terms.max_output_tokens,
        before_try=may_act,
        prices=organization.prices,
        windows=settings.state / "models",
        diagnoses=True if settings.rehearse else None,
    )
    return Conversation(
        model,
        journal,
        system=system,
        tools=tools,
        may_call=permits.check,
        max_steps=terms.max_turn_steps,
        before_effect=may_act,
        meter=gate,
        compact_at=CompactAt(terms.compact_at_tokens, terms.compact_at_share),
        is_per_task=terms.conversation == "per_task",
        begins_with=begins_with,
    )


def track_record_of(organization: Organization, bus: Bus) -> TrackRecord:
    """How the work of all roles ended, by their skills."""
    skills = {name: role.settings.skills for name, role in organization.roles.items()}
    return TrackRecord(bus, skills, operator=organization.operator)


def acceptance_of(
    settings: Settings,
    organization: Organization,
    name: str,
    bus: Bus,
    journal: Journal,
    coordination: Coordination,
    mask: Callable[[str], str],
    learner: Learner,
    place: Workplace,
    grants: Grants,
) -> Acceptance:
    """What a role's work must show before it counts as done."""
    role = organization.role(name)
    sandbox = sandbox_of(role, workspace_of(name, settings.state)) if has_shell(role) else None
    permissions = _permissions(organization, role, frozenset())
    permits = _permits(settings, organization, name, permissions, coordination, learner, grants)
    return Acceptance(
        name, organization, journal=journal, coordination=coordination,
        run_check=checking(sandbox, place, permits, mask=mask),
        attach=attaching(bus, name, place), verify_within_s=organization.terms(name).ask_within_s,
        decide_within_s=organization.defaults.approval_within_s,
    )  # fmt: skip


def _permits(
    settings: Settings, organization: Organization, name: str, permissions: Permissions, coordination: Coordination,
    learner: Learner, grants: Grants,
) -> Permits:  # fmt: skip
    return Permits(
        permissions, Overrides(settings.state / "permissions" / f"{name}.toml", role=name), coordination,
        within_s=organization.defaults.approval_within_s, clock=now, policy=learner.policy.rules,
        granted=lambda: [grant.what for grant in grants.known(name, "tool", now())],
    )  # fmt: skip


def learner_of(
    settings: Settings, organization: Organization, name: str, *, bus: Bus, events: Events, notices: Notices
) -> Learner:
    """The learner of a role; its files are in `learning/<role>/` of the state folder."""
    folder = settings.state / "learning" / name
    return Learner(
        Learns(name, organization.operator), bus=bus, learned=Learned(folder / "learnings.db", role=name),
        policy=Policy(folder / "policy.md", role=name), events=events, notices=notices, clock=now,
    )  # fmt: skip


def watch_of(settings: Settings, name: str) -> Watch:
    """What looks at a role's own work for what may be a learning."""
    return Watch(OwnWork(settings.state / "learning" / name / "own_work.db"))


def checks_of(settings: Settings, organization: Organization, key: str, bus: Bus) -> Scheduler | None:
    """What fires the role's schedules that have a check command; None if there are none, or this is a replica."""
    planned = [one for one in schedules.planned(organization, {}) if one.rule.check and one.to == key]
    if not planned:
        return None
    return Scheduler(bus, organization, checks_of=key, check=check_of(settings, organization, key))


def check_of(settings: Settings, organization: Organization, key: str) -> Check:
    """Runs check commands where the role's own run: in its workspace and sandbox, with its limits."""
    sandbox = sandbox_of(organization.role(key), settings.state / "workspaces" / key)

    async def check(command: str) -> Checked:
        can = isolation()
        if can.remedy:
            return Checked(2, f"no command is run on this machine: {can.found}")
        sandbox.workspace.mkdir(parents=True, exist_ok=True)
        own(sandbox.workspace, sandbox)
        ended = await run([shell(), "-c", command], sandbox)
        return Checked(2 if ended.stopped else ended.exit_code, ended.stopped or ended.output)

    return check


def secrets_of(settings: Settings, organization: Organization, name: str) -> dict[str, str]:
    """What a role's process knows and nobody else may read, by name: the model's key, variables, MCP servers' keys."""
    found = known_secrets(os.environ)
    for server in _mcp_servers(settings, organization, name).values():
        found |= secret_variables(server.env) | secret_variables(server.headers)
    return found | settings.secrets


def _mcp_servers(settings: Settings, organization: Organization, name: str) -> dict[str, McpServer]:
    role, names = organization.role(name), organization.role(name).settings.mcp_servers
    own = role.other.get("mcpServers") or ()
    if isinstance(own, str):
        own = [name.strip() for name in own.split(",")]
    named: list[object] = [*(organization.defaults.mcp_servers if names is None else names)]
    named += [own] if isinstance(own, dict) else own
    return servers_of(named, folder=settings.folder, environment=with_files(os.environ))


@contextlib.asynccontextmanager
async def mcp_tools_of(
    settings: Settings, organization: Organization, name: str, key: str
) -> AsyncIterator[list[Tool]]:
    """The tools of the role's MCP servers, which run for the length of the block."""
    servers = _mcp_servers(settings, organization, name)
    if not servers:
        yield []
        return
    try:
        from agenthub.tools.mcp import open_mcp
    except ModuleNotFoundError as error:
        raise ConfigError(f"`{name}` has MCP servers: install `agenthub[mcp]` ({error}).") from error
    async with open_mcp(servers, folder=settings.folder, known=settings.state / "mcp" / key) as tools:
        yield tools


def _permissions(organization: Organization, role: Role, with_others: frozenset[str]) -> Permissions:
    never = role.other.get("disallowedTools")
    return Permissions(
        rules=role.settings.permissions,
        organization=organization.defaults.permissions,
        only=role.tools,
        never=split_rules(never) if isinstance(never, str) else tuple(map(str, never or ())),
        always_offered=with_others,
    )


def claude_code_place(
    settings: Settings, organization: Organization, name: str, key: str, system: str, api_key: str
) -> Place:
    """What the role's Claude Code is given."""
    terms, role = organization.terms(name), organization.role(name)
    limit_usd = organization.budget_of(name, rehearse=settings.rehearse).get("usd_day", math.inf)
    limits = role.settings.limits
    return Place(
        model=terms.model, system=system, workspace=settings.state / "workspaces" / name,
        home=settings.state / "claude-code" / key, api_key=api_key, base_url=settings.model_url,
        rules=allowed(role.tools), max_steps=terms.max_turn_steps, max_output_tokens=terms.max_output_tokens,
        prices=organization.prices, max_usd=None if math.isinf(limit_usd) else limit_usd,
        owner=name, has_network=role.settings.network, processes=limits.command_processes,
        memory_bytes=limits.command_memory_mib * 1024**2, disk_bytes=limits.command_disk_mib * 1024**2,
    )  # fmt: skip
