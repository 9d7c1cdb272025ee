"""`python -m trainer.job JOB.json`: one training run, alone or as a process under torchrun.

    python -m trainer.launch 8 -m trainer.job job.json

The file says what to read, what to publish and how. Started again, the run resumes. Stdout gets one
JSON object per event (`trainer.run.OnEvent`), and in the last line the published version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from storage.policies import PolicyVersion
from trainer.distributed import World, joined
from trainer.rl import train_rl
from trainer.settings import Names, RlConfig, SftConfig
from trainer.sft import train_sft


class SftJob(BaseModel):
    """Supervised fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["sft"]
    names: Names
    config: SftConfig = SftConfig()
    samples: Path | None = None
    """A Parquet file of samples (`trainer.rows.PREPARED`); by default the recorded prompts and
    tokens are learned, which must be of the parent's tokenizer."""
    asked: dict[str, JsonValue] | None = None
    """How to prompt the policy when it is sampled; written into its manifest."""

    def run(self, world: World) -> PolicyVersion:
        return train_sft(
            self.names, self.config, world, self.samples, asked=self.asked, on_event=_print
        )


class RlJob(BaseModel):
    """The update of one RL round."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["rl"]
    names: Names
    config: RlConfig = RlConfig()

    def run(self, world: World) -> PolicyVersion:
        return train_rl(self.names, self.config, world, on_event=_print)


Job = Annotated[SftJob | RlJob, Field(discriminator="kind")]


def read_job(path: Path) -> SftJob | RlJob:
    """The job of a file. Raises pydantic.ValidationError, which names the wrong field."""
    job: SftJob | RlJob = TypeAdapter(Job).validate_json(path.read_bytes())
    return job


def _print(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def main() -> None:
    job = read_job(Path(sys.argv[1]))
    with joined() as world:
        published = job.run(world)
        if world.leads:
            print(published, flush=True)


if __name__ == "__main__":
    main()
