"""Words that name somebody or something, as arguments of commands; a shell completes them.

A shell asks by running `agenthub __complete` with the words typed so far: no server is asked, the files of the
organization say it. What goes wrong is silent, since whoever types sees it when the command runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

    from agenthub.cli.chart import Chart

Candidates = Iterator[tuple[str, str]]
"""Words, each with what is said about it."""


def role_names(context: CompletionContext) -> Candidates:
    """The roles, with what each is for."""
    for name, entry in _chart(context).roles.items():
        yield name, entry.description


def _people(context: CompletionContext) -> Candidates:
    chart = _chart(context)
    yield chart.operator, "the operator"
    yield from role_names(context)


def _operator(context: CompletionContext) -> Candidates:
    yield _chart(context).operator, "the operator"


def _accounts(context: CompletionContext) -> Candidates:
    yield "organization", "all roles together"
    yield from role_names(context)


def _logs(context: CompletionContext) -> Candidates:
    yield from role_names(context)
    for name in ("supervisor", "nats", "rehearsal"):
        yield name, "a process of the hub"


def _some_roles(context: CompletionContext) -> Candidates:
    yield from _further(context, [*role_names(context)])


def _targets(context: CompletionContext) -> Candidates:
    chart = _chart(context)
    found = [*role_names(context), ("@all", "every role")]
    found += [(f"@{name}", f"all who work for {name}") for name in chart.managers]
    found += [(f"?skill={skill}", f"who can do {skill}") for skill in chart.skills]
    yield from _further(context, found)


def context_names(_: CompletionContext) -> Candidates:
    """The contexts of the `nats` command."""
    from agenthub.nats_contexts import contexts_folder

    for path in sorted(contexts_folder().glob("*.json")):
        yield path.stem, ""


def _further(context: CompletionContext, found: list[tuple[str, str]]) -> Candidates:
    """Each as the next of those that stand there with commas between them."""
    before, comma, _ = context.incomplete.rpartition(",")
    there = {one.strip() for one in before.split(",")}
    return ((f"{before}{comma}{word}", text) for word, text in found if word not in there)


def _chart(context: CompletionContext) -> Chart:
    from agenthub.cli.chart import read_chart

    config = context.get("--config")
    return read_chart(None if config is None else config.raw)


RoleName = Annotated[str, Parameter(completer=role_names)]
AnyRole = Annotated[str | None, Parameter(completer=role_names)]
"""None: no role in particular."""
RolesBetweenCommas = Annotated[str, Parameter(completer=_some_roles)]
Target = Annotated[str, Parameter(completer=_targets)]
"""One or several roles, `@all`, a team such as `@cto`, `?skill=sql`."""
RoleOrOperator = Annotated[str, Parameter(completer=_people)]
AnyBody = Annotated[str | None, Parameter(completer=_people)]
OperatorName = Annotated[str, Parameter(completer=_operator)]
AccountWord = Annotated[str, Parameter(completer=_accounts)]
LogName = Annotated[str, Parameter(completer=_logs)]
