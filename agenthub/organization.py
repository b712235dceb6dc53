"""config/agenthub.toml and the role files, put together: who works here, for whom, and under which terms."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from agenthub import subjects
from agenthub.errors import ConfigError, NotFoundError, unknown
from agenthub.organization_file import (
    ORGANIZATION_BUDGET,
    ROLE_BUDGET,
    Budget,
    Calendar,
    Defaults,
    OrganizationFile,
    OrganizationSchedule,
    Price,
    RoleOverride,
)
from agenthub.role_settings import MODEL_ALIASES, NAME_RULE, SessionKind
from agenthub.roles import Problem, Role, as_token, explain, not_a_key, read_roles, shown
from agenthub.settings import FILE_KEYS, Settings
from agenthub.toml_files import TomlFile, read_toml


class Terms(NamedTuple):
    """What a role works under, with all defaults filled in."""

    model: str
    """Full id; aliases are resolved."""
    budget_usd_day: float
    """`math.inf`: unlimited."""
    ask_within_s: float
    max_turn_steps: int
    max_output_tokens: int
    turn_timeout_s: float
    conversation: Literal["rolling", "per_task"]
    compact_at_tokens: int
    compact_at_share: float
    session: SessionKind


@dataclass(frozen=True)
class Organization:
    """Who works here, for whom, and under which terms."""

    org: str
    """Name of the organization, one token."""
    operator: str = "you"
    """The person at the top: directives come from there, approvals go there."""
    defaults: Defaults = field(default_factory=Defaults)
    budget: Budget = field(default_factory=Budget)
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By the model's full name; they come before list prices."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """Roles by name; overrides are merged in, and who had no manager reports to the operator."""
    calendar: Calendar = field(default_factory=Calendar)
    knowledge: Path = Path(".agenthub/knowledge")
    """Folder of what was decided and learned."""
    schedules: Mapping[str, OrganizationSchedule] = field(default_factory=dict)
    """Those of agenthub.toml, by name; those of roles are in their settings."""
    problems: tuple[Problem, ...] = ()

    def role(self, name: str) -> Role:
        """The role of that name.

        Raises:
            NotFoundError: If there is none; says the nearest.
        """
        if name not in self.roles:
            raise NotFoundError(unknown("role", name, self.roles))
        return self.roles[name]

    def terms(self, name: str) -> Terms:
        """What the role works under: its own word where it has one, else the organization's."""
        role, own, default = self.role(name), self.role(name).settings, self.defaults
        model = role.model or default.model
        return Terms(
            model=MODEL_ALIASES.get(model, model),
            budget_usd_day=self.budget_of(name).get("usd_day", math.inf),
            ask_within_s=own.ask_within_s or default.ask_within_s,
            max_turn_steps=own.limits.max_turn_steps or default.max_turn_steps,
            max_output_tokens=own.limits.max_output_tokens or default.max_output_tokens,
            turn_timeout_s=own.limits.turn_timeout_s or default.turn_timeout_s,
            conversation=own.conversation or default.conversation,
            compact_at_tokens=own.limits.compact_at_tokens or default.compact_at_tokens,
            compact_at_share=own.limits.compact_at_share or default.compact_at_share,
            session=own.session or default.session,
        )

    def budget_of(self, name: str, *, rehearse: bool = False) -> dict[str, float]:
        """What a role may spend: limit, such as `usd_day`, → amount. What is unlimited is left out.

        Args:
            rehearse: Leave out what nobody has written down: it costs nothing, so only a wish limits it.
        """
        own = self.role(name).settings
        found = self.default_budget(rehearse=rehearse)
        if own.budget_usd_day is not None:
            found["usd_day"] = own.budget_usd_day
        return _finite(found | own.budget.said())

    def default_budget(self, *, rehearse: bool = False) -> dict[str, float]:
        """What a role may spend that says nothing of it, as `budget_of`; `math.inf`: no limit."""
        found = {} if rehearse else dict(ROLE_BUDGET)
        if "budget_usd_day" in self.defaults.model_fields_set:
            found["usd_day"] = self.defaults.budget_usd_day
        return found | self.defaults.budget.said()

    def budget_of_all(self, *, rehearse: bool = False) -> dict[str, float]:
        """What all roles together may spend, as `budget_of`."""
        return _finite(({} if rehearse else dict(ORGANIZATION_BUDGET)) | self.budget.said())

    def breaker_usd(self, *, rehearse: bool = False) -> float:
        """US dollars within ten minutes that open a role's breaker; in rehearsals only if somebody wrote it down."""
        return (
            math.inf if rehearse and "breaker_usd" not in self.defaults.model_fields_set else self.defaults.breaker_usd
        )

    def reports(self, name: str) -> tuple[str, ...]:
        """Who reports directly to a role or to the operator, sorted."""
        if name != self.operator:
            self.role(name)
        return tuple(sorted(role.name for role in self.roles.values() if role.settings.reports_to == name))

    def is_manager(self, name: str) -> bool:
        """True if anyone reports to it."""
        return bool(self.reports(name))

    def managers_chain(self, name: str) -> tuple[str, ...]:
        """Manager, manager's manager and so on; the last one is the operator."""
        chain: list[str] = []
        while name in self.roles or not chain:
            name = self.role(name).settings.reports_to or self.operator
            if name in chain:  # a cycle; strict loading refuses it
                break
            chain.append(name)
        return tuple(chain)

    def colleagues(self, name: str) -> tuple[str, ...]:
        """Who has the same manager, sorted, without itself."""
        manager = self.role(name).settings.reports_to or self.operator
        return tuple(sorted(r.name for r in self.roles.values() if r.settings.reports_to == manager and r.name != name))

    @cached_property
    def roster_hash(self) -> str:
        """Twelve hex digits that change when anything a role works under changes; where files lie does not matter."""
        value = {
            "org": self.org,
            "operator": self.operator,
            "defaults": self.defaults.model_dump(mode="json"),
            "budget": self.budget.model_dump(mode="json"),
            "prices": {name: price.model_dump(mode="json") for name, price in self.prices.items()},
            "roles": {name: role.model_dump(mode="json", exclude={"path"}) for name, role in self.roles.items()},
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _finite(limits: Mapping[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in limits.items() if amount < math.inf}


def load_organization(settings: Settings, *, strict: bool = True) -> Organization:
    """Read agenthub.toml and the role files. Not strict: what is wrong is only listed in `problems`.

    Raises:
        ConfigError: If agenthub.toml is not TOML; if strict, also for any problem of level `error`: all of
            them, one a line.
    """
    toml = read_toml(settings.config, settings.folder) if settings.config else TomlFile("agenthub.toml", {}, {})
    file, problems = _read(toml)
    roles, found = read_roles(settings.folder, file.role_files)
    problems += found
    merged = {role.name: _merged(role, file.roles.get(role.name), file.operator) for role in roles}
    broken = [problem.path for problem in found if problem.level == "error"]
    problems += _across(merged, file, toml, broken, settings)
    errors = [str(problem) for problem in problems if problem.level == "error"]
    if strict and errors:
        raise ConfigError("\n".join(errors))
    return Organization(
        org=file.org or as_token(settings.folder.name) or "org",
        operator=file.operator,
        defaults=file.defaults,
        budget=file.budget,
        prices=file.prices,
        calendar=file.calendar,
        knowledge=settings.folder / file.knowledge.folder if file.knowledge.folder else settings.state / "knowledge",
        schedules=file.schedules,
        roles=merged,
        problems=tuple(problems),
    )


def _read(toml: TomlFile) -> tuple[OrganizationFile, list[Problem]]:
    """What the file says; where it is wrong, the default and a problem."""
    values: dict[str, Any] = dict(toml.values)
    problems: list[Problem] = []

    def wrong(where: tuple[str, ...], text: str) -> None:
        problems.append(Problem(toml.shown, toml.lines.get(where), "error", text))

    tables: dict[str, list[str]] = {}
    for key in FILE_KEYS.values():
        table, _, name = key.partition(".")
        tables.setdefault(table, []).append(name)
    for table, names in tables.items():
        content = values.pop(table, {})
        if not isinstance(content, dict):
            wrong((table,), f"`{table}` must be a table: `[{table}]`")
            continue
        for name in content:
            if name not in names:
                wrong((table, name), not_a_key(f"{table}.{name}", names))
    if isinstance(values.get("roles"), str | list):
        wrong(("roles",), "`roles` is the table of overrides; where role files are is said by `role_files`")
        del values["roles"]
    for key in [key for key in values if key not in OrganizationFile.model_fields]:
        wrong((key,), not_a_key(key, [*OrganizationFile.model_fields, *tables]))
        del values[key]
    # Key by key, so that a wrong one does not hide the roles behind the defaults of all the others.
    good: dict[str, Any] = {}
    for key, value in values.items():
        try:
            OrganizationFile.model_validate({key: value})
        except ValidationError as error:
            problems += explain(error, OrganizationFile, path=toml.shown, prefix=(), lines=toml.lines)
        else:
            good[key] = value
    return OrganizationFile.model_validate(good), problems


def _merged(role: Role, override: RoleOverride | None, operator: str) -> Role:
    """The role with what agenthub.toml says about it; limits and schedules are merged name by name."""
    settings = role.settings
    own: dict[str, Any] = {}
    if override is not None:
        said = {name: getattr(override, name) for name in override.model_fields_set}
        own = {name: said.pop(name) for name in ("model", "description") if name in said}
        if "limits" in said:
            limits = {name: getattr(override.limits, name) for name in override.limits.model_fields_set}
            said["limits"] = settings.limits.model_copy(update=limits)
        if "budget" in said:
            said["budget"] = settings.budget.model_copy(update=override.budget.said())
        if "schedule" in said:
            said["schedule"] = {**settings.schedule, **override.schedule}
        settings = settings.model_copy(update=said)
        if own.get("model") == "inherit":
            own["model"] = None
    if settings.reports_to is None:
        settings = settings.model_copy(update={"reports_to": operator})
    return role.model_copy(update={**own, "settings": settings})


def _across(
    roles: Mapping[str, Role], file: OrganizationFile, toml: TomlFile, broken: Iterable[str], settings: Settings
) -> Iterable[Problem]:
    """What is wrong between roles, though each of them is right."""
    # A role whose own file is broken is missing too, but that error has been told.
    told = {name for path in map(Path, broken) for name in (path.stem, path.parent.name)}

    def problem(role: Role, key: str, text: str) -> Problem:
        """Placed where it was said: in agenthub.toml, else in the role's file."""
        if role.name in file.roles and key in file.roles[role.name].model_fields_set:
            line = toml.lines.get(("roles", role.name, key)) or toml.lines.get(("roles", role.name))
            return Problem(toml.shown, line, "error", f"`roles.{role.name}.{key}`: {text}")
        return Problem(shown(role.path, settings.folder), role.lines.get(key), "error", f"`agenthub.{key}`: {text}")

    if not roles and not told:
        globs = ", ".join(f"`{pattern}`" for pattern in file.role_files)
        text = (
            f"there is no role. Role files are looked for as {globs} in {settings.folder}; `agenthub init` begins an "
            "organization there"
        )
        yield Problem(toml.shown, toml.lines.get(("role_files",)), "error", text)
    kept = settings.folder / file.knowledge.folder
    if file.knowledge.folder and any(_may_match(pattern, kept, settings.folder) for pattern in file.role_files):
        text = f"role files are looked for in {kept}: keep what is known in a folder of its own"
        yield Problem(toml.shown, toml.lines.get(("knowledge", "folder")), "error", f"`knowledge.folder`: {text}")
    for name in file.roles:
        if name not in roles and name not in told:
            line = toml.lines.get(("roles", name))
            yield Problem(toml.shown, line, "error", f"`[roles.{name}]`: {unknown('role', name, roles)}")
    if file.operator in roles:
        text = f"`{file.operator}` is the operator; give the role or `operator` another name"
        yield Problem(shown(roles[file.operator].path, settings.folder), None, "error", text)
    if subjects.LEADER in roles:
        text = f"`{subjects.LEADER}` is what the hub calls the process that leads; give the role another name"
        yield Problem(shown(roles[subjects.LEADER].path, settings.folder), None, "error", text)
    if subjects.ALL_ROLES in roles:
        text = f"`{subjects.ALL_ROLES}` stands for every role; give this one another name"
        yield Problem(shown(roles[subjects.ALL_ROLES].path, settings.folder), None, "error", text)
    names = [*roles, file.operator]
    for role in roles.values():
        for key in ("reports_to", "fallback", "verified_by"):
            other = getattr(role.settings, key)
            if other is not None and other not in names and other not in told:
                yield problem(role, key, unknown("role", other, names))
        if role.settings.fallback == role.name:
            yield problem(role, "fallback", f"`{role.name}` cannot stand in for itself")
        if role.settings.verified_by == role.name:
            yield problem(role, "verified_by", f"`{role.name}` cannot verify its own work")
        if role.settings.repository:
            place = (settings.folder / role.settings.repository).resolve()
            if not any((place / name).exists() for name in (".git", "HEAD")):
                text = f"{place} is no git repository. Run `git init` there, or leave the key out"
                yield problem(role, "repository", text)
        for name, schedule in role.settings.schedule.items():
            if not subjects.token(name):
                yield problem(role, "schedule", f"{name!r} is no name of a schedule: {NAME_RULE}")
            for other in schedule.news_of:
                if other not in names and other not in told:
                    yield problem(role, "schedule", f"`{name}.news_of`: {unknown('role', other, names)}")
    for name, planned in file.schedules.items():
        for other in (planned.to, *planned.news_of):
            if other not in roles and other not in told:
                line = toml.lines.get(("schedules", name)) or toml.lines.get(("schedules",))
                yield Problem(toml.shown, line, "error", f"`[schedules.{name}]`: {unknown('role', other, roles)}")
    for cycle in _cycles({name: role for name, role in roles.items() if name != file.operator}):
        circle = " → ".join([*cycle, cycle[0]])
        text = f"managers go round in a circle: {circle}. Let one of them report to `{file.operator}`"
        yield problem(roles[cycle[0]], "reports_to", text)


def _may_match(pattern: str, kept: Path, folder: Path) -> bool:
    """True if a file that roles made below `kept` could be read as a role."""
    fixed = list(itertools.takewhile(lambda part: not set("*?[") & set(part), Path(pattern).parts[:-1]))
    return kept.is_relative_to(folder.joinpath(*fixed)) and (bool(fixed) or kept == folder or "**" in pattern)


def _cycles(roles: Mapping[str, Role]) -> Iterable[list[str]]:
    """Each circle of managers once, beginning with its first name."""
    done: set[str] = set()
    for start in sorted(roles):
        path: list[str] = []
        name = start
        while name in roles and name not in done and name not in path:
            path.append(name)
            name = roles[name].settings.reports_to or ""
        if name in path:
            yield path[path.index(name) :]
        done.update(path)
