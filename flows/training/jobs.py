"""One training job from start to published version, and what it tells on the way."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from flows.training.launch import run_supervised, trainer_command
from flows.training.steps import Steps, Watch
from storage.policies import Policies, PolicyVersion
from trainer.job import RlJob, SftJob


async def train(
    job: SftJob | RlJob,
    processes: int = 1,
    watch: Watch = lambda steps: None,
    say: Callable[[str], None] = lambda line: None,
    snapshot: Callable[[Path], None] = lambda folder: None,
    note: Callable[[str], None] = lambda sentence: None,
) -> PolicyVersion:
    """Run the job in processes of its own, and return what it published.

    Started again, an interrupted job goes on from its last checkpoint and a finished one returns
    its version. `say` hears every line the job prints, `snapshot` the folder of the weights at
    some step on the way, `note` how the model is held in memory and why. Raises `JobFailed`.
    """
    steps = Steps()

    def hear(line: str) -> None:
        say(line)
        if line.startswith('{"event"'):
            event = json.loads(line)
            if event["event"] == "snapshot":
                snapshot(Path(event["folder"]))
            if event["event"] == "holding":
                note(event["reason"])
            steps.hear(event)
            watch(steps)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(job.model_dump_json())
        last_line = await run_supervised(trainer_command(path, processes), hear)
    return Policies(job.names.store).version(last_line)
