"""Answers the requests of a trajectory with the replies that an earlier process was given.

A loop is deterministic given its replies, and its seeds follow from the row's key. So a process
that makes a trajectory again sends the same requests, and goes on at the first one without a reply.
Programs are not run again either: one that draws random numbers would print something else, and
every later request would have to be paid for again.
"""

from __future__ import annotations

import hashlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from storage.journal import KeptReplies
from storage.records import Outcome, Provenance
from tirgen.engine.protocol import Completion, Finish
from tirgen.sandbox.contract import Execution
from tirgen.tir.core import Generate, Request, Result

_COMPLETION = tuple(field.name for field in fields(Completion))
_EXECUTION = tuple(field.name for field in fields(Execution))
_PACKED = {"token_ids": "q", "logprobs": "d"}
"""Fields of a completion that are kept as 64-bit numbers in Base64: written as text they would cost
several times as much CPU time."""


class Recall:
    """The replies of one trajectory, those of earlier processes and those of this one.

    A reply is used again only for the same request at the same place of a row with the same
    provenance: with another version of tirgen, of a server or of a prompt it is asked again.
    """

    def __init__(self, kept: KeptReplies, provenance: Provenance) -> None:
        """Raises OSError where the kept replies cannot be read."""
        self._kept = kept
        self._replies = kept.read()
        self._origin = hashlib.sha256(repr((provenance, _COMPLETION, _EXECUTION)).encode())
        self._requests = 0
        self._key = ""

    def next(self, request: Request) -> Result | None:
        """The reply to the trajectory's next request; None if it has to be asked."""
        self._requests += 1
        self._key = self._key_of(request)
        found = self._replies.pop(self._key, None)
        if found is None:
            return None
        return _completion(found) if isinstance(request, Generate) else _execution(found)

    def keep(self, reply: Result) -> None:
        """Keep the reply to the request that was last asked for. Raises OSError."""
        wanted = _COMPLETION if isinstance(reply, Completion) else _EXECUTION
        value = {name: getattr(reply, name) for name in wanted}
        if isinstance(reply, Completion):
            value |= {name: _packed(code, value[name]) for name, code in _PACKED.items()}
        self._kept.append(self._key, value)

    def _key_of(self, request: Request) -> str:
        digest = self._origin.copy()
        if isinstance(request, Generate):
            prompt = request.prompt
            asked = repr((request.role, prompt.messages, prompt.reply, request.sampling))
            digest.update(array("q", prompt.token_ids).tobytes())
        else:
            asked = repr(request.code)
        digest.update(f"\n{self._requests} {asked}".encode())
        return digest.hexdigest()


def _completion(kept: dict[str, Any]) -> Completion:
    lists = {name: tuple(_unpacked(code, kept[name])) for name, code in _PACKED.items()}
    return Completion(**{**kept, **lists, "finish": Finish(kept["finish"])})


def _packed(code: str, values: Iterable[float]) -> str:
    return b64encode(array(code, values).tobytes()).decode()


def _unpacked(code: str, text: str) -> array[Any]:
    return array(code, b64decode(text))


def _execution(kept: dict[str, Any]) -> Execution:
    return Execution(**{**kept, "outcome": Outcome(kept["outcome"])})
