"""A small organization and somebody who carries out the tools: the other side of the conversation."""

from __future__ import annotations

import html
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.types import Message

MODEL = "claude-sonnet-5-5"

_COLLEAGUES = {
    "cto": ("Owns the technical direction.", "architecture, review"),
    "cmo": ("Owns how we are seen.", "marketing, content"),
    "cfo": ("Owns money and budget.", "finance, costs"),
    "backend": ("Builds APIs and data stores.", "api, sql, python"),
    "frontend": ("Builds what users see.", "react, css"),
    "qa": ("Verifies every change.", "testing"),
    "devops": ("Keeps the servers up.", "kubernetes, monitoring"),
    "clerk": ("Keeps the papers.", ""),
}
_REPORTS = {"ceo": "cto, cmo, cfo", "cto": "backend, frontend, qa, devops"}


def tool(name: str, *inputs: str) -> dict[str, Any]:
    properties: dict[str, Any] = {field: {} for field in inputs}
    return {"name": name, "description": name, "input_schema": {"type": "object", "properties": properties}}


TOOLS = [
    tool("delegate", "tasks", "wait"),
    tool("finish", "outcome", "summary", "evidence"),
    tool("list_files"),
    tool("read_file", "path"),
    tool("report_status", "type", "text"),
    tool("write_file", "path", "content"),
]


def system(role: str) -> str:
    about, skills = _COLLEAGUES.get(role, ("Leads the company.", ""))
    lines = [f"- {name}: {text} [skills: {known}]" for name, (text, known) in _COLLEAGUES.items() if name != role]
    return "\n".join(
        [
            f"You are {role}. Be brief.",
            "",
            "<hub:place>",
            "organization: acme",
            f"role: {role}",
            f"description: {about}",
            f"reports_to: {'you' if role == 'ceo' else 'ceo'}",
            f"direct_reports: {_REPORTS.get(role, '')}",
            f"skills: {skills}",
            "colleagues:",
            *lines,
            "</hub:place>",
        ]
    )


def message(body: str, *, subject: str = "Attachment API", sender: str = "ceo", kind: str = "task_assignment") -> str:
    head = f'id="01a" from="{sender}" type="{kind}" priority="high" subject="{html.escape(subject)}"'
    return f"<hub:message {head}>\n{body}\n</hub:message>"


def answers(*parts: str, task: str = "01a") -> str:
    return f'<hub:answers task="{task}" complete="true">\n' + "\n".join(parts) + "\n</hub:answers>"


def answer(role: str, text: str, *, outcome: str = "done", evidence: str = "") -> str:
    shown = f"\nevidence: {evidence}" if evidence else ""
    return f'<hub:answer from="{role}" outcome="{outcome}" subject="Part of {role}">\n{text}{shown}\n</hub:answer>'


class Office:
    """One role's conversation: it is told things, its tools are carried out in memory."""

    def __init__(self, client: AsyncAnthropic, role: str, *, tools: list[dict[str, Any]] | None = None) -> None:
        self._client, self._system = client, system(role)
        self.tools = TOOLS if tools is None else tools
        self.files: dict[str, str] = {}
        self.history: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failing: dict[str, str] = {}
        """Tools that fail, and what they say."""

    async def told(self, text: str, **more: Any) -> Message:
        """What the model answers to a text."""
        pending = self._results() if self.history and self.history[-1]["role"] == "assistant" else []
        self.history.append({"role": "user", "content": [*pending, {"type": "text", "text": text}]})
        return await self.goes_on(**more)

    async def goes_on(self, **more: Any) -> Message:
        answered = await self._client.messages.create(
            model=MODEL,
            max_tokens=8000,
            system=self._system,
            tools=self.tools,  # type: ignore[arg-type]
            messages=self.history,  # type: ignore[arg-type]
            **more,
        )
        self.history.append({"role": "assistant", "content": [block.to_dict() for block in answered.content]})
        return answered

    async def works_on(self, text: str) -> dict[str, Any]:
        """Carry out what the model asks for until it finishes or delegates; the input of that last call."""
        answered = await self.told(text)
        while answered.stop_reason == "tool_use":
            calls = [block for block in answered.content if block.type == "tool_use"]
            self.calls += [(call.name, dict(call.input)) for call in calls]
            if calls[-1].name in ("finish", "delegate") and calls[-1].name not in self.failing:
                return dict(calls[-1].input)
            self.history.append({"role": "user", "content": self._results()})
            answered = await self.goes_on()
        return {"text": "".join(block.text for block in answered.content if block.type == "text")}

    def _results(self) -> list[dict[str, Any]]:
        calls = [block for block in self.history[-1]["content"] if block["type"] == "tool_use"]
        return [self._result(call) for call in calls]

    def _result(self, call: dict[str, Any]) -> dict[str, Any]:
        said, failed = self.failing.get(call["name"]), call["name"] in self.failing
        if call["name"] == "write_file" and not failed:
            self.files[call["input"]["path"]] = call["input"]["content"]
        if call["name"] == "read_file" and not failed:
            said = self.files[call["input"]["path"]]
        return {"type": "tool_result", "tool_use_id": call["id"], "content": said or "ok", "is_error": failed}


def finishing(answered: Message) -> dict[str, Any]:
    """The input of the `finish` call of an answer, which must have one."""
    return next(dict(block.input) for block in answered.content if block.type == "tool_use" and block.name == "finish")


def said(answered: Message) -> str:
    return "".join(block.text for block in answered.content if block.type == "text")
