"""What kinds of work there are: who does them, what comes out, what it is called.

A trade is found by words, so that any role of any organization has one. The artefacts are the files in
`artefacts/`, filled in with the words of the task.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import re
import string
from typing import NamedTuple

from agenthub.rehearsal.frames import Colleague


class Trade(NamedTuple):
    """A kind of work and its artefact."""

    name: str
    """Also the name of the template in `artefacts/`."""
    words: str
    """Words in skills, names and descriptions that point to it."""
    part: str
    """What a task of this kind is about; stands after the topic in a subject."""
    deliverable: str
    holds: str
    """What the artefact has in it."""
    path: str
    asks: tuple[str, str]
    """What the one who does it should settle."""
    risk: str
    next: str


TRADES = (
    Trade(
        "api", "api backend endpoint rest http service server python go java", "API and service",
        "an API specification with endpoints, errors and limits",
        "four endpoints with their errors, limits and one open question",
        "docs/$slug-api.md",
        ("name every endpoint with its errors and limits", "say what happens on retries and on half-done requests"),
        "limits are estimates until a load test has run", "review the specification with the callers",
    ),
    Trade(
        "schema", "sql database data postgres schema migration storage dba", "data model",
        "a schema with its migration and the way back", "the table, its two indexes and the way back",
        "db/$slug.sql",
        ("keep the migration reversible", "name the queries that must stay fast"),
        "the migration was not tried on a copy of production data", "run the migration on a copy and time it",
    ),
    Trade(
        "screens", "frontend ui ux web css react mobile ios android screen interface", "screens and states",
        "a description of the screens with all their states", "three screens, each with empty, loading and error state",
        "docs/$slug-screens.md",
        ("cover empty, loading and error states", "keep it usable by keyboard and screen reader"),
        "no user has seen the screens yet", "show the screens to three users",
    ),
    Trade(
        "tests", "testing test qa quality verify verifies verification acceptance", "tests and acceptance",
        "a test plan with cases and what must be true to accept",
        "eight cases, five of them must pass, and what is not covered",
        "tests/$slug-plan.md",
        ("write the cases before the code is there", "say which case must never be skipped"),
        "the plan has not been run against real code", "run the plan on the first build",
    ),
    Trade(
        "runbook", "devops sre ops operations infrastructure deploy kubernetes cloud monitoring release ci platform",
        "rollout and operations", "a runbook for rollout, alarms and the way back",
        "rollout in four steps, four alarms and a way back of one command",
        "ops/$slug-runbook.md",
        ("make the way back one command", "name the alarm that would wake somebody"),
        "the way back was not rehearsed", "rehearse the way back on staging",
    ),
    Trade(
        "threats", "security threat pentest crypto vulnerability secure auth", "threat model",
        "a threat model with what we do about each threat",
        "six threats, what we do about each, and one for a person to accept",
        "docs/$slug-threats.md",
        ("start from what an attacker wants", "say which risk we accept and who accepts it"),
        "a person must accept the remaining risk", "check each measure in the code review",
    ),
    Trade(
        "decision", "architecture architect technical technology engineering cto design system", "technical plan",
        "a decision record with options and reasons", "three options, the one I would take and why",
        "docs/$slug-decision.md",
        ("name the option that you did not take, and why", "keep every step reversible where it costs little"),
        "the estimate rests on one comparable project", "agree on the decision before work starts",
    ),
    Trade(
        "brief", "product owner pm requirements roadmap user story stories cpo", "scope and priorities",
        "a product brief with stories and what is out of scope",
        "four stories, what is out of scope and how we will know",
        "docs/$slug-brief.md",
        ("say who it is for and how we will know", "name what is out of scope"),
        "the scope rests on assumptions about users", "settle the open questions with two customers",
    ),
    Trade(
        "campaign", "marketing campaign content brand seo social pr communication cmo launch copy",
        "message and launch", "a campaign plan with message, channels and numbers",
        "one message, four channels, a calendar and when to stop",
        "marketing/$slug-campaign.md",
        ("one message for one audience", "say which number tells us to stop"),
        "the reach is an estimate from earlier launches", "test the message with a small audience",
    ),
    Trade(
        "costs", "finance cost budget accounting pricing cfo controller revenue money", "costs and budget",
        "a cost estimate with what drives it", "four positions, each low, likely and high, and what drives them",
        "finance/$slug-costs.md",
        ("show low, likely and high", "name the one assumption that moves the result most"),
        "the largest position is an assumption", "compare the estimate with the first month",
    ),
    Trade(
        "review", "legal compliance privacy gdpr law contract regulation policy risk audit", "legal and privacy review",
        "a review with findings and conditions", "four findings with a condition each; none stops the work",
        "legal/$slug-review.md",
        ("say what is allowed, not only what is not", "name what a lawyer must look at"),
        "this is no legal advice: a lawyer has not seen it", "have the conditions checked by a lawyer",
    ),
    Trade(
        "accounts", "sales account customer deal crm partner business cro", "customers and offer",
        "an account plan with offer and objections", "whom to ask first, the offer and three objections",
        "sales/$slug-accounts.md",
        ("name the first three customers to ask", "write down the objection that you expect"),
        "no customer has confirmed the price", "ask the first customers",
    ),
    Trade(
        "people", "hr people hiring recruiting talent culture onboarding training coo", "people and hiring",
        "a plan for who is needed when", "the gaps, what goes without hiring and what does not",
        "people/$slug-people.md",
        ("say what the team can do without hiring", "keep the interviews the same for everyone"),
        "hiring takes longer than planned more often than not", "agree on the first position",
    ),
    Trade(
        "support", "support helpdesk service-desk success incident tickets", "support and answers",
        "answers for the questions that will come", "five answers and when to hand over to engineering",
        "support/$slug-answers.md",
        ("write the answers before the first ticket", "say when to hand over to engineering"),
        "the questions are guesses until the first week is over", "compare with the tickets of the first week",
    ),
    Trade(
        "experiment", "research data-science ml ai machine learning analytics analyst statistics science",
        "measurement", "an experiment with its measure and its size", "the measure, the size and how we decide",
        "research/$slug-experiment.md",
        ("fix the measure before you look", "say how large an effect would matter"),
        "small effects will not be seen with this many users", "start the experiment and do not peek",
    ),
    Trade(
        "guide", "docs documentation writing writer technical-writing editor tutorial", "documentation",
        "a guide that somebody new can follow", "the shortest way, the words and what to do when it fails",
        "docs/$slug-guide.md",
        ("start with the shortest way to a result", "test every example"),
        "the examples were not run by somebody new", "let somebody new follow the guide",
    ),
)  # fmt: skip
NOTE = Trade(
    "note", "", "your part", "a note with what was found and what follows",
    "what is known, what is assumed and two steps",
    "notes/$slug.md",
    ("say what you know and what you assume", "name what you need from others"),
    "the note rests on the text of the task alone", "confirm the open points with who asked",
)  # fmt: skip

_COMMON_WORDS = """
    the a an and or of for to in on with by from is are be as at it its this that these we you our your all any
    new please need needs should must can will into over under after before what who how when which do does make
    build implement create add prepare write plan task sprint assignment work team first next soon now have has
    not every owns own manage leads lead keep keeps run runs see
    tell user users day days us them their they also only more most use used
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def pick(seed: int, *parts: str) -> int:
    """A large number that is always the same for the same words; what looks like chance comes from here."""
    return int.from_bytes(hashlib.sha256("\0".join((str(seed), *parts)).encode()).digest()[:8], "big")


def words(text: str) -> list[str]:
    """Words of a text that carry meaning, in order, each once, without plural."""
    found = (_singular(word) for word in re.findall(r"[a-z][a-z0-9-]+", text.lower()) if word not in _COMMON)
    return [word for word in dict.fromkeys(found) if word not in _COMMON]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 4 and word.endswith("s") and word[-2] not in "siu" else word


def trade_of(role: Colleague) -> Trade:
    """The trade of a role: by its name and skills first, then its description."""
    weights = dict.fromkeys(_stems(role.description), 1)
    weights |= dict.fromkeys(_stems(role.name), 4) | dict.fromkeys(_stems(" ".join(role.skills)), 3)
    return max(TRADES, key=lambda trade: _weight(weights, trade), default=NOTE) if _knows(weights) else NOTE


def fit(role: Colleague, task: str) -> int:
    """How well a task fits a role; 0: no word in common with its skills, its trade or its description."""
    weights = dict.fromkeys(_stems(role.description), 1) | dict.fromkeys(_stems(trade_of(role).words), 2)
    weights |= dict.fromkeys(_stems(" ".join((role.name, *role.skills))), 3)
    return sum(weights.get(stem, 0) for stem in _stems(task))


def slug(text: str) -> str:
    """Topic as part of a file name."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:48].strip("-") or "task"


@functools.cache
def _template(name: str) -> string.Template:
    folder = importlib.resources.files("agenthub.rehearsal") / "artefacts"
    return string.Template((folder / f"{name}.md").read_text("utf-8"))


def artefact(trade: Trade, topic: str, *, role: str, asker: str, ask: str, chance: int) -> str:
    """Text of the trade's artefact for a topic; the numbers in it come from `chance`."""
    nouns = [word for word in words(topic) + words(ask) if word not in ("api", "service")] or ["item"]
    noun, second, third = [word.replace("-", "_") for word in (*nouns, "use", "review")][:3]
    a_noun = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    return _template(trade.name).substitute(
        topic=topic, slug=slug(topic), noun=noun, a_noun=a_noun, Noun=noun.capitalize(), role=role,
        asker=asker, ask=ask or topic, second=second, third=third,
        days=3 + chance % 8, percent=5 + chance // 8 % 20, count=20 + chance // 160 % 30 * 10,
        cost=4 + chance // 4800 % 30, limit=10 + chance // 144_000 % 9 * 10,
    )  # fmt: skip


def path(trade: Trade, topic: str) -> str:
    """Where the artefact is written."""
    whole = string.Template(trade.path).substitute(slug=slug(topic))
    return re.sub(r"-(\w+)-\1\.", r"-\1.", whole)


def _weight(weights: dict[str, int], trade: Trade) -> int:
    return sum(weights.get(stem, 0) for stem in _stems(trade.words))


def _stems(text: str) -> list[str]:
    """Words by which texts are compared: tested, testing and tests are one."""
    return list(dict.fromkeys(re.sub(r"(?<=[a-z]{4})(ing|ed|e)$", "", word) for word in words(text)))


def _knows(weights: dict[str, int]) -> bool:
    return any(_weight(weights, trade) for trade in TRADES)
