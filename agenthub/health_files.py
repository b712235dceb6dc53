"""Where each process of this machine answers about its health, for who looks without the broker."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path
from typing import NamedTuple, Self

LIVE_WITHIN_S = 10.0
"""How long an event loop may take to turn; who has not answered by then is not alive."""

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not bound


class HealthFile(NamedTuple):
    """`health/<name of the process>` in the state folder."""

    host: str
    port: int
    pid: int

    @classmethod
    def all(cls, state: Path) -> dict[str, Self]:
        """Every process that said where it answers, by name; also one that was killed since."""
        found = {}
        for path in sorted((state / "health").glob("*")):
            with contextlib.suppress(OSError, ValueError):
                host, port, pid = path.read_text().split()
                found[path.name] = cls(host, int(port), int(pid))
        return found

    def write(self, state: Path, key: str) -> None:
        """Say where a process answers."""
        path = state / "health" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{self.host} {self.port} {self.pid}\n")

    @classmethod
    def remove(cls, state: Path, key: str, mine: Self) -> None:
        """Say that a process has ended, unless another one has its name already."""
        if cls.all(state).get(key) == mine:
            (state / "health" / key).unlink(missing_ok=True)

    def ask(self, path: str, *, within_s: float = LIVE_WITHIN_S) -> tuple[bool, str]:
        """Whether it says yes, and its words.

        Raises:
            OSError: If it does not answer; TimeoutError if it is there and does not.
        """
        connection = http.client.HTTPConnection(_ANY.get(self.host, self.host), self.port, timeout=within_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status == 200, answer.read(1000).decode(errors="replace").strip()
        except http.client.HTTPException as error:
            raise OSError(f"port {self.port} does not speak as an agenthub process does") from error
        finally:
            connection.close()
