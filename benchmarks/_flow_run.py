"""One generation of the flow benchmark in a process of its own: plainly, or as the flow."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tirgen.config import GenerateConfig


def config(problems: int) -> GenerateConfig:
    """The work that both sides do: one attempt a problem, no baselines."""
    chosen = {"path": "pocket:train", "limit": problems}
    settings = {"dataset": "bench", "problems": chosen, "attempts": 1, "cot_samples": 0}
    return GenerateConfig.model_validate(settings)


def plainly(problems: int, store: Path) -> None:
    from storage.datasets import Store
    from tirgen.generate import generate

    asyncio.run(generate(config(problems), Store(store)))


def as_flow(problems: int, store: Path) -> None:
    """In this process, against the server that the environment names."""
    from flows.service.generate import generate

    asyncio.run(generate(config(problems)))


if __name__ == "__main__":
    side, wanted, folder = sys.argv[1:]
    {"plain": plainly, "flow": as_flow}[side](int(wanted), Path(folder))
