"""All that people and programs may do with a hub: send, wait, watch, list. CLI, TUI and MCP only call this."""

from agenthub.client.history import completions
from agenthub.client.hub import Client, open_client
from agenthub.client.inboxes import RoleStatus, WaitingMessage
from agenthub.client.names import access_of, check_topic, ensure_signers, role_queues
from agenthub.client.replies import Replies
from agenthub.transcript import LiveEvent

__all__ = [
    "Client", "LiveEvent", "Replies", "RoleStatus", "WaitingMessage", "access_of", "check_topic", "completions",
    "ensure_signers", "open_client", "role_queues",
]  # fmt: skip
