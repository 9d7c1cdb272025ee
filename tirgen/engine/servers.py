"""The servers that the roles of a job use: one gate for each, and what each says of its load."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress

from tirgen.engine.errors import EngineError
from tirgen.engine.gate import Gate, loop_time
from tirgen.engine.http import JsonClient
from tirgen.engine.retry import Transient

READING_SECONDS = 2.0
"""Between two readings of a server's load."""
SILENCE_SECONDS = 20.0
"""After this time without an answer a server without metrics is asked whether it is there."""
LOST_AFTER = 3
"""A server that does not answer so many questions in a row, each within `_PATIENCE`, is lost."""
_PATIENCE = 10.0
_METRIC = re.compile(r"^vllm:num_requests_(running|waiting)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Servers:
    """Gates by address. An async context manager: its exit ends the readings."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        self._readings: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Servers:
        return self

    async def __aexit__(self, *_: object) -> None:
        for reading in self._readings.values():
            reading.cancel()
        await asyncio.gather(*self._readings.values(), return_exceptions=True)

    def gate(self, base_url: str, concurrency: int) -> Gate:
        """The gate of a server; each role adds the requests that it may have in flight."""
        if gate := self._gates.get(base_url):
            gate.raise_ceiling(concurrency)
            return gate
        return self._gates.setdefault(base_url, Gate(concurrency))

    def read(self, client: JsonClient, *, replaceable: bool) -> None:
        """Follow the load of a server. What a `replaceable` one is working on is sent elsewhere
        when it is silent and cannot be reached any more."""
        url = client.base_url
        if url not in self._readings:
            reading = _follow(client, self._gates[url], replaceable)
            self._readings[url] = asyncio.create_task(reading, name=f"load of {url}")


async def _follow(client: JsonClient, gate: Gate, replaceable: bool) -> None:
    has_metrics, missed = True, 0
    while True:
        await asyncio.sleep(READING_SECONDS)
        silent = loop_time() - gate.heard_at
        if not gate.in_flight or not (has_metrics or (replaceable and silent > SILENCE_SECONDS)):
            continue
        try:
            async with asyncio.timeout(_PATIENCE):
                if has_metrics:
                    found = load_of(await client.get_root_text("/metrics"))
                    has_metrics = found is not None
                    if found is not None:
                        gate.crowded(*found)
                else:
                    await client.get("/models")
            missed = 0
        except EngineError:
            has_metrics, missed = False, 0
        except (Transient, TimeoutError):
            missed += 1
            if replaceable and missed >= LOST_AFTER:
                missed = 0
                gate.lost()


def load_of(metrics: str) -> tuple[float, float] | None:
    """How many requests a server works on and how many wait in it; None if it does not say."""
    found = {"running": 0.0, "waiting": 0.0}
    seen = set()
    for name, value in _readings(metrics):
        found[name] += value
        seen.add(name)
    return (found["running"], found["waiting"]) if seen == found.keys() else None


def _readings(metrics: str) -> Iterator[tuple[str, float]]:
    for name, value in _METRIC.findall(metrics):
        with suppress(ValueError):
            yield name, float(value)
