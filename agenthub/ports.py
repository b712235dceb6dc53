"""A port of this machine that stays ours also while nobody listens on it.

Whoever finds a free port and gives it away to have another process listen on it, at once or again after a crash, may
find it taken by then: by any process that asked the system for a free one.
"""

from __future__ import annotations

import socket
import sys
from types import TracebackType
from typing import Self


class Port:
    """A port on loopback: until `close`, the system gives it to nobody who asks for a free one, or connects.

    Only who names it, and sets `SO_REUSEADDR` as servers do, can listen on it: who was told the number. On other
    systems than Linux two may not bind one port, so there it is only a port that was free.
    """

    def __init__(self, number: int = 0) -> None:
        """
        Args:
            number: The port to hold; 0 for a free one.

        Raises:
            OSError: If somebody has it.
        """
        self._socket = socket.socket()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", number))
            self.number = int(self._socket.getsockname()[1])
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"port {number} of 127.0.0.1: {error.strerror}") from error
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Leave it to the system; who listens on it goes on."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
