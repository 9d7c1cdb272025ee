"""One generation of the flow benchmark in its own process, without Prefect."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from storage.datasets import Store
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig


def config(problems: int) -> GenerateConfig:
    """The work of both sides: one attempt per problem, no baselines."""
    chosen = {"path": "pocket:train", "limit": problems}
    settings = {"dataset": "bench", "problems": chosen, "attempts": 1, "cot_samples": 0}
    return GenerateConfig.model_validate(settings)


if __name__ == "__main__":
    wanted, folder = sys.argv[1:]
    asyncio.run(generate(config(int(wanted)), Store(Path(folder))))
