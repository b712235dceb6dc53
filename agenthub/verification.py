"""What a doer claims and somebody else is asked to verify. Values and rules; no I/O.

For the ledger a verification is an ask like any other: its one part is the verifier's, whose answer says it. `done`
approves, `failed` rejects, anything else means that the verifier cannot tell.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from agenthub.messages import Attachment, Check, Message, Outcome

MAX_REJECTIONS = 3
"""After so many a person decides. agent.ceo's rule; what is rejected three times is no misunderstanding."""
MAX_CHARACTERS = 20_000
"""Of the task, and of what was said about it, that a verifier reads."""
ACCEPT, AGAIN, GIVE_UP = "accept it as it is", "let it be tried again", "give it up"
CHOICES = [ACCEPT, AGAIN, GIVE_UP]
"""What a person may decide about work that was rejected so often"""


class Verification(BaseModel):
    """A claim that something is done."""

    model_config = ConfigDict(frozen=True, extra="allow")

    text: str = ""
    evidence: list[str] = Field(default_factory=list)
    check: Check | None = None
    """What came of the task's check before."""
    attachments: list[Attachment] = Field(default_factory=list)
    """Files that go with it."""
    rejections: list[str] = Field(default_factory=list)
    """What the verifier said before, oldest first."""

    def words(self, task: Message, doer: str) -> str:
        """What the verifier reads."""
        wanted, said = task.payload.message or task.title, self.text or "(nothing)"
        parts = [
            f"Verify what `{doer}` says is done. The task was:\n\n{wanted[:MAX_CHARACTERS]}",
            f"It says:\n\n{said[:MAX_CHARACTERS]}",
        ]
        if self.evidence:
            parts.append("Its evidence: " + ", ".join(self.evidence))
        if self.check is not None:
            parts.append(f"The check: {self.check.words}\n{self.check.output}".rstrip())
        if self.rejections:
            parts.append(f"You rejected it {len(self.rejections)} times before, the last time: {self.rejections[-1]}")
        parts.append(
            "Look for yourself. Finish with `done` only if it is done and you saw what shows it, with `failed` and "
            "what is wrong if it is not, with `blocked` if you cannot tell."
        )
        return "\n\n".join(parts)


def is_rejection(outcome: Outcome) -> bool:
    """True if a verifier's answer says that it is not done; not if it could not tell."""
    return outcome is Outcome.FAILED
