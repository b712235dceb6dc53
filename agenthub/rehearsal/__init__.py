"""The rehearsal model: a Messages API endpoint that plays any organization from its org chart.

No key, no cost, the same answers for the same seed. Clients use the unmodified SDK with another base URL:

    async with start_rehearsal(seed=7) as endpoint:
        client = AsyncAnthropic(base_url=endpoint.url, api_key="rehearsal")

Read `playbook.py` for what a role answers, `steering.py` for the words that steer it, `faults.py` for what
can be made to go wrong.
"""

from agenthub.rehearsal.server import Endpoint, serve, start_rehearsal

__all__ = ["Endpoint", "serve", "start_rehearsal"]
