"""What all sessions of a sandbox hold between their cells, and who gives way when it is too much.

Each state counts with all its memory, pages that it shares with others included: they can become
its own at any time. Not counted: the scratch directory, 16 MB at most for each session.
"""

from __future__ import annotations

from tirgen.sandbox import kernel
from tirgen.sandbox.home import Home


class Holdings:
    """Bounds the sum over all sessions: the one that holds the most is the one that is ended."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._homes: set[Home] = set()

    def weigh(self, home: Home, pid: int, baseline: int, replaces: int | None = None) -> bool:
        """Note what a state holds beyond `baseline`; whether it may stay.

        Larger sessions are ended to make room for it. Where it stays, `replaces` goes.
        """
        home.held[pid] = max(0, kernel.held_bytes(pid) - baseline)
        before = home.held.pop(replaces, 0) if replaces else 0
        if self._make_room(home):
            return True
        if replaces:
            home.held[replaces] = before
        return False

    def _make_room(self, home: Home) -> bool:
        self._homes = {home, *(other for other in self._homes if not other.ended)}
        while sum(other.held_bytes for other in self._homes) > self._most:
            largest = max(self._homes, key=lambda other: other.held_bytes)
            if largest is home:
                return False
            self._homes.discard(largest)
            largest.give_way()
        return True
