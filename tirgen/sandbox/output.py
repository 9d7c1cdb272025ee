"""What is kept of a stream: its head and its tail, however much was written in between."""

from __future__ import annotations


class HeadAndTail:
    """Holds at most about `limit` bytes of everything fed to it."""

    def __init__(self, limit: int) -> None:
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0
        """Bytes fed so far."""

    def feed(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_room - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_room:  # twice: so that trimming is rare
            del self._tail[: len(self._tail) - self._tail_room]

    @property
    def truncated(self) -> bool:
        return self.total > self._head_room + self._tail_room

    def text(self) -> str:
        """As UTF-8, undecodable bytes replaced, a line in the middle saying what is missing."""
        if not self.truncated:
            return bytes(self._head + self._tail).decode(errors="replace")
        tail = self._tail[len(self._tail) - self._tail_room :]
        missing = self.total - len(self._head) - len(tail)
        marker = f"\n[... {missing} bytes left out ...]\n"
        return self._head.decode(errors="replace") + marker + tail.decode(errors="replace")
