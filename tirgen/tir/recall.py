"""Answers the requests of a trajectory with the replies that an earlier process was given.

A loop is deterministic given its replies, and its seeds follow from the row's key. So a process
that makes a trajectory again sends the same requests, and goes on at the first one without a reply.
Programs are not run again either: one that draws random numbers would print something else, and
every later request would have to be paid for again.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import fields
from typing import Any

from storage.journal import KeptReplies
from storage.records import Outcome, Provenance
from tirgen.engine.protocol import Completion, Finish
from tirgen.sandbox.contract import Execution
from tirgen.tir.core import Generate, Request, Result

_COMPLETION = tuple(field.name for field in fields(Completion))
_EXECUTION = tuple(field.name for field in fields(Execution))


class Recall:
    """The replies of one trajectory, those of earlier processes and those of this one.

    A reply is used again only for the same request at the same place of a row with the same
    provenance: another version of tirgen, of a server or of a prompt asks anew.
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
        self._kept.append(self._key, {name: getattr(reply, name) for name in wanted})

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
    ids, logprobs = tuple(kept["token_ids"]), tuple(kept["logprobs"])
    read = {"token_ids": ids, "logprobs": logprobs, "finish": Finish(kept["finish"])}
    return Completion(**{**kept, **read})


def _execution(kept: dict[str, Any]) -> Execution:
    return Execution(**{**kept, "outcome": Outcome(kept["outcome"])})
