"""What roles answer: managers delegate and merge, specialists work, words steer."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import AsyncAnthropic

from agenthub.rehearsal import start_rehearsal, steering, trades

from .office import MODEL, TOOLS, Office, answer, answers, finishing, message, said, tool

TASK = "We need attachments: an API with SQL storage, screens in React and testing before we ship."


async def test_a_manager_hands_the_task_to_the_reports_that_fit(client: AsyncAnthropic) -> None:
    cto = Office(client, "cto")
    delegated = await cto.works_on(message(TASK))
    assert {task["to"] for task in delegated["tasks"]} == {"backend", "frontend", "qa"}
    assert delegated["wait"] is True
    assert [name for name, _ in cto.calls] == ["delegate"]
    for task in delegated["tasks"]:
        assert 0 < len(task["subject"]) <= 60
        assert "Attachment API" in task["subject"]
        assert TASK in task["message"]
    assert len({task["subject"] for task in delegated["tasks"]}) == 3


async def test_a_delegation_begins_with_one_sentence_of_text(client: AsyncAnthropic) -> None:
    answered = await Office(client, "cto").told(message(TASK))
    assert [block.type for block in answered.content] == ["text", "tool_use"]
    assert answered.stop_reason == "tool_use"


async def test_without_a_word_in_common_three_reports_are_chosen(client: AsyncAnthropic) -> None:
    delegated = await Office(client, "cto").works_on(message("Xyzzy quux.", subject="Plugh"))
    assert len(delegated["tasks"]) == 3


async def test_the_topic_does_not_grow_from_level_to_level(client: AsyncAnthropic) -> None:
    down = await Office(client, "ceo").works_on(message("The architecture of attachments, its review and costs."))
    task = next(task for task in down["tasks"] if task["to"] == "cto")
    further = await Office(client, "cto").works_on(message(task["message"], subject=task["subject"]))
    assert all(task["subject"].startswith("Attachment API – ") for task in further["tasks"])
    assert all(task["message"].count("What was asked:") == 1 for task in further["tasks"])


async def test_no_input_is_sent_that_the_schema_of_the_tool_does_not_know(client: AsyncAnthropic) -> None:
    strict = [{"name": "delegate", "input_schema": {"type": "object", "properties": {"tasks": {}}}}]
    delegated = await Office(client, "cto", tools=strict).works_on(message(TASK))
    assert set(delegated) == {"tasks"}


async def test_a_manager_merges_the_answers_into_a_report_and_a_summary(client: AsyncAnthropic) -> None:
    cto = Office(client, "cto")
    await cto.works_on(message(TASK))
    finished = await cto.works_on(
        answers(
            answer("backend", "The API is there.\nRisk: no load test.\nNext: review it.", evidence="docs/api.md"),
            answer("qa", "The test plan is there.", evidence="tests/plan.md, tests/cases.md"),
        )
    )
    assert finished["outcome"] == "done"
    assert finished["evidence"] == ["reports/attachment-api.md", "docs/api.md", "tests/plan.md", "tests/cases.md"]
    summary = finished["summary"].splitlines()
    assert len(summary) <= 10
    assert summary[0] == "Attachment API, asked by ceo: both parts are done (backend and qa)."
    assert "- backend (done): The API is there" in summary
    assert "Risks: no load test (backend)." in summary
    report = cto.files["reports/attachment-api.md"]
    assert report.startswith("# Attachment API\n")
    assert TASK in report
    assert "| qa | done | tests/plan.md, tests/cases.md |" in report


@pytest.mark.parametrize(
    ("parts", "outcome", "named"),
    [
        ([answer("backend", "Ready."), '<hub:missing from="qa" reason="no answer by the deadline"/>'], "done", "qa"),
        ([answer("backend", "Ready."), answer("qa", "No.", outcome="failed")], "done", "qa (failed)"),
        ([answer("backend", "No.", outcome="failed"), answer("qa", "No.", outcome="blocked")], "blocked", "0 of 2"),
        ([answer("backend", "You?", outcome="needs_human")], "needs_human", "backend (needs a person)"),
        (['<hub:missing from="qa" reason="no answer"/>'], "blocked", "qa (no answer)"),
    ],
)
async def test_gaps_are_named(client: AsyncAnthropic, parts: list[str], outcome: str, named: str) -> None:
    cto = Office(client, "cto")
    await cto.works_on(message(TASK))
    finished = await cto.works_on(answers(*parts))
    assert finished["outcome"] == outcome
    assert named in finished["summary"].splitlines()[0]


async def test_answers_are_merged_even_if_the_task_is_no_longer_in_the_conversation(client: AsyncAnthropic) -> None:
    finished = await Office(client, "cto").works_on(answers(answer("backend", "Ready."), task="gone"))
    assert finished["summary"].startswith("Part of backend, asked by ceo: the one part is done (backend).")


@pytest.mark.parametrize("role", ["backend", "frontend", "qa", "devops", "cfo", "cmo", "clerk"])
async def test_a_specialist_writes_something_reads_it_and_reports(client: AsyncAnthropic, role: str) -> None:
    office = Office(client, role)
    finished = await office.works_on(message("Attachments of at most 20 MB.", sender="cto"))
    names = [name for name, _ in office.calls]
    assert names[-1] == "finish"
    assert 2 <= len(names) - 1 <= 4
    assert names.index("write_file") < names.index("read_file")
    assert finished["outcome"] == "done"
    assert finished["evidence"] == list(office.files)
    artefact = next(iter(office.files.values()))
    assert 15 <= len(artefact.splitlines()) <= 40
    assert "attachment" in artefact.lower()
    assert "Attachments of at most 20 MB." in artefact
    assert "$" not in artefact.replace("$ curl", "").replace("$TOKEN", "")
    assert finished["evidence"][0] in finished["summary"]


async def test_only_tools_that_are_offered_are_used(client: AsyncAnthropic) -> None:
    finish_only = [tool for tool in TOOLS if tool["name"] == "finish"]
    office = Office(client, "cto", tools=finish_only)
    finished = await office.works_on(message(TASK))
    assert [name for name, _ in office.calls] == ["finish"]
    assert "nothing was written" in finished["summary"]
    bare = await Office(client, "backend", tools=[]).told(message(TASK))
    assert (bare.stop_reason, [block.type for block in bare.content]) == ("end_turn", ["text"])


async def test_a_question_is_answered_at_once(client: AsyncAnthropic) -> None:
    asked = message("Can we ship on Friday?", kind="question", subject="Friday")
    finished = finishing(await Office(client, "cto").told(asked))
    assert finished["outcome"] == "done"
    assert "Can we ship on Friday?" in finished["summary"]


async def test_only_what_came_after_the_last_frame_counts(client: AsyncAnthropic) -> None:
    office, fresh = Office(client, "backend"), Office(client, "backend")
    await office.works_on(message("Something else entirely.", subject="Billing"))
    first_calls = len(office.calls)
    finished = await office.works_on(message("Attachments."))
    assert finished == await fresh.works_on(message("Attachments."))
    assert office.calls[first_calls:] == fresh.calls


@pytest.mark.parametrize("notice", ["<hub:notice>Two messages wait.</hub:notice>", "Two messages wait."])
async def test_a_notice_beside_tool_results_does_not_end_the_work(client: AsyncAnthropic, notice: str) -> None:
    office = Office(client, "backend")
    await office.told(message("Attachments."))
    answered = await office.told(notice)
    assert answered.stop_reason == "tool_use"
    assert office.history[-2]["content"][0]["type"] == "tool_result"


async def test_an_answer_that_was_cut_off_is_taken_up_again(client: AsyncAnthropic) -> None:
    office = Office(client, "backend")
    first = await office.told(message("Attachments."))
    office.history[-1]["content"] = [{"type": "text", "text": "I wri"}]
    again = await office.told("[your answer was cut off here at the token limit; go on, more briefly]")
    assert [b.to_dict()["input"] for b in again.content[1:]] == [b.to_dict()["input"] for b in first.content[1:]]


async def test_a_failed_tool_is_said_and_ends_the_work_honestly(client: AsyncAnthropic) -> None:
    office = Office(client, "backend")
    office.failing["read_file"] = "permission denied"
    finished = await office.works_on(message("Attachments."))
    assert finished["outcome"] == "failed"
    assert "read_file failed: permission denied" in finished["summary"]
    assert finished["evidence"] == list(office.files)


async def test_a_tool_whose_end_is_unknown_is_called_again(client: AsyncAnthropic) -> None:
    office = Office(client, "backend")
    first = await office.told(message("Attachments."))
    results = office._results()
    for result in results:
        result |= {"is_error": True, "content": "It is unknown whether it took effect."}
    office.history.append({"role": "user", "content": results})
    again = await office.goes_on()
    assert [b.to_dict().get("input") for b in again.content] == [b.to_dict().get("input") for b in first.content]


async def test_a_plain_text_gets_a_plain_answer(client: AsyncAnthropic) -> None:
    assert said(await Office(client, "cto").told("Who are you?")).startswith("I am cto of acme.")
    answered = await client.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Good morning"}]
    )
    assert "Good morning" in said(answered)


async def test_a_hand_over_says_what_came_and_how_it_ended(client: AsyncAnthropic) -> None:
    office = Office(client, "backend")
    await office.works_on(message("Attachments."))
    answered = await office.told("Write a hand-over for the next conversation.")
    assert answered.stop_reason == "end_turn"
    assert "- task_assignment of ceo: Attachment API" in said(answered)
    assert "- done: " in said(answered)


async def test_the_same_seed_gives_the_same_conversation(client: AsyncAnthropic) -> None:
    async def conversation(seed: int) -> tuple[list[Any], list[Any]]:
        async with (
            start_rehearsal(seed=seed, speed=0) as endpoint,
            AsyncAnthropic(base_url=endpoint.url, api_key="x", max_retries=0) as other,
        ):
            office = Office(other, "backend")
            await office.works_on(message("Attachments."))
            return office.history, [call["usage"] for call in endpoint.model.journal]

    assert await conversation(7) == await conversation(7)
    assert len({str((await conversation(seed))[0]) for seed in range(4)}) == 4


async def test_variants_do_not_depend_on_the_id_of_the_message(client: AsyncAnthropic) -> None:
    one, other = Office(client, "backend"), Office(client, "backend")
    assert await one.works_on(message("A.")) == await other.works_on(message("A.").replace('id="01a"', 'id="77f"'))
    assert one.calls == other.calls


@pytest.mark.parametrize(
    ("words", "outcome"), [("fail", "failed"), ("blocked", "blocked"), ("needs_human", "needs_human")]
)
async def test_words_choose_the_outcome(client: AsyncAnthropic, words: str, outcome: str) -> None:
    assert finishing(await Office(client, "backend").told(message(f"Do it. rehearse: {words}")))["outcome"] == outcome


async def test_silent_just_stops_talking(client: AsyncAnthropic) -> None:
    answered = await Office(client, "backend").told(message("rehearse: silent"))
    assert (answered.stop_reason, [block.type for block in answered.content]) == ("end_turn", ["text"])


async def test_say_finishes_with_exactly_this_text(client: AsyncAnthropic) -> None:
    finished = finishing(
        await Office(client, "cto").told(message("Please.\nrehearse: say All is well: 42 of 42.\nBye"))
    )
    assert (finished["outcome"], finished["summary"]) == ("done", "All is well: 42 of 42.")


async def test_alone_keeps_the_work_with_the_manager(client: AsyncAnthropic) -> None:
    cto = Office(client, "cto")
    finished = await cto.works_on(message(TASK + "\nrehearse: alone"))
    assert finished["outcome"] == "done"
    assert cto.files


async def test_steps_writes_so_many_files_first(client: AsyncAnthropic) -> None:
    office = Office(client, "backend")
    finished = await office.works_on(message("rehearse: steps 5"))
    assert finished["evidence"] == [f"notes/step-{number}.md" for number in range(1, 6)]
    assert [name for name, _ in office.calls] == ["write_file"] * 5 + ["finish"]


async def test_a_tool_is_called_first_with_the_given_input(client: AsyncAnthropic) -> None:
    office = Office(client, "backend")
    words = 'rehearse: tool write_file {"path": "a.md", "content": "rehearse: fail {"}\nrehearse: say done'
    finished = await office.works_on(message(words))
    assert office.calls[0] == ("write_file", {"path": "a.md", "content": "rehearse: fail {"})
    assert (finished["summary"], finished["evidence"]) == ("done", ["a.md"])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("rehearse: tool rm_rf {}", "There is no tool `rm_rf` here."),
        ("rehearse: fial", "`rehearse: fial` is not known."),
        ("rehearse: steps many", "`rehearse: steps` needs a number"),
        ("rehearse: tool write_file {broken", "`rehearse: tool` needs a name and an input"),
    ],
)
async def test_a_mistake_in_the_words_is_said(client: AsyncAnthropic, words: str, named: str) -> None:
    finished = finishing(await Office(client, "backend").told(message(words)))
    assert finished["outcome"] == "failed"
    assert named in finished["summary"]


async def test_words_for_a_report_are_passed_on_to_it_alone(client: AsyncAnthropic) -> None:
    body = f"{TASK}\nrehearse@devops: fail\nrehearse@backend: say no"
    delegated = await Office(client, "cto").works_on(message(body))
    steered = {task["to"]: steering.read(task["message"]) for task in delegated["tasks"]}
    assert (steered.pop("devops").outcome, steered.pop("backend").say) == ("failed", "no")
    assert len(steered) == 2
    assert all("rehearse" not in task["message"] for task in delegated["tasks"] if task["to"] in steered)


async def test_words_for_a_role_further_down_travel_with_the_task(client: AsyncAnthropic) -> None:
    delegated = await Office(client, "ceo").works_on(message("Attachments.\nrehearse@backend: fail", sender="you"))
    assert all(task["message"].endswith("\n\nrehearse@backend: fail") for task in delegated["tasks"])


@pytest.mark.parametrize("trade", [*trades.TRADES, trades.NOTE], ids=lambda trade: trade.name)
def test_every_trade_has_an_artefact(trade: trades.Trade) -> None:
    text = trades.artefact(trade, "Invoice import", role="me", asker="ceo", ask="Import invoices.", chance=12345)
    assert "invoice" in text.lower()
    assert " a invoice" not in text
    assert 15 <= len(text.splitlines()) <= 40
    assert "invoice-import" in trades.path(trade, "Invoice import")


async def test_tools_that_a_server_offers_to_claude_code_are_used_under_its_names_for_them(
    client: AsyncAnthropic,
) -> None:
    offered = [{**tool, "name": f"mcp__agenthub__{tool['name']}"} for tool in TOOLS if tool["name"] != "read_file"]
    told = message("Write down how attachments are tested.")
    qa, plain = Office(client, "qa", tools=offered), Office(client, "qa")
    first, same = await qa.told(told), await plain.told(told)
    named = [block.name for block in first.content if block.type == "tool_use"]
    assert named == [f"mcp__agenthub__{block.name}" for block in same.content if block.type == "tool_use"]
    again = await qa.told("<system-reminder>hook</system-reminder>")
    assert [block.name for block in again.content if block.type == "tool_use"] == ["mcp__agenthub__finish"]


async def test_a_call_whose_outcome_claude_code_does_not_know_is_made_again(client: AsyncAnthropic) -> None:
    qa = Office(client, "qa")
    first = await qa.told(message('rehearse: tool list_files {"path": "notes"}'))
    qa.failing["list_files"] = "[Tool call interrupted: ... so its outcome is unknown. Check whether it took effect]"
    again = await qa.told("[go on]")
    calls = [[block.input for block in said.content if block.type == "tool_use"] for said in (first, again)]
    assert calls[0] == calls[1] == [{"path": "notes"}]


POLL_TOOLS = [tool("finish", "outcome", "summary", "evidence", "vote", "bid"), tool("delegate", "tasks")]


def polled(body: str, frame: str, kind: str) -> str:
    text = message(body, subject="Vote: which store?", kind=kind)
    return text.replace("\n</hub:message>", f"\n{frame}\n</hub:message>")


async def test_a_ballot_is_answered_by_one_of_its_options_and_always_the_same(client: AsyncAnthropic) -> None:
    frame = '<hub:ballot options="postgres | “lite” &amp; fast | none"/>'
    asked = polled("Which store?", frame, "ballot")
    votes = {role: (await Office(client, role, tools=POLL_TOOLS).works_on(asked))["vote"] for role in ("cto", "qa")}
    assert set(votes.values()) <= {"postgres", "“lite” & fast", "none"}
    assert (await Office(client, "cto", tools=POLL_TOOLS).works_on(asked))["vote"] == votes["cto"]


@pytest.mark.parametrize(("role", "vote"), [("cto", "no"), ("qa", "maybe")])
async def test_words_for_one_voter_go_before_those_for_all(client: AsyncAnthropic, role: str, vote: str) -> None:
    body = "Ship?\nrehearse: vote no\nrehearse@qa: vote maybe"
    asked = polled(body, '<hub:ballot options="yes | no | maybe"/>', "ballot")
    assert (await Office(client, role, tools=POLL_TOOLS).works_on(asked))["vote"] == vote


async def test_who_knows_the_field_bids_surer_and_faster(client: AsyncAnthropic) -> None:
    asked = polled("Write an API with SQL storage in python.", "<hub:tender/>", "tender")
    backend, clerk = [
        (await Office(client, role, tools=POLL_TOOLS).works_on(asked))["bid"] for role in ("backend", "clerk")
    ]
    assert backend["confidence"] > clerk["confidence"]
    assert backend["eta_minutes"] < clerk["eta_minutes"]
    told = polled("Write it.\nrehearse@backend: bid 3 45 0.25", "<hub:tender/>", "tender")
    finished = await Office(client, "backend", tools=POLL_TOOLS).works_on(told)
    assert finished["bid"] == {"cost_usd": 3.0, "eta_minutes": 45.0, "confidence": 0.25}


async def test_whoever_called_a_vote_says_what_came_of_it(client: AsyncAnthropic) -> None:
    cto = Office(client, "cto", tools=POLL_TOOLS)
    await cto.works_on(message(TASK))
    tally = '<hub:tally decision="{}">{}; yes: 2, no: 0</hub:tally>'
    given = answers(answer("backend", "I am for yes."), answer("qa", "I am for yes."))
    head, _, rest = given.partition(">\n")
    decided = await cto.works_on(f"{head}>\n{tally.format('yes', 'yes')}\n{rest}")
    assert (decided["outcome"], "yes; yes: 2, no: 0" in decided["summary"]) == ("done", True)
    open_still = await cto.works_on(f"{head}>\n{tally.format('none', 'no decision (tie)')}\n{rest}")
    assert (open_still["outcome"], "no decision (tie)" in open_still["summary"]) == ("blocked", True)
