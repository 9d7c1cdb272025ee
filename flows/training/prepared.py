"""The samples for fine-tuning one policy on a dataset version, and how the policy is asked.

A row keeps its recorded tokens if it was made with the policy's own tokenizer and template, which
their fingerprint shows. Every other row is written again with the policy's own
(`tirgen.tir.reply_tokens`), so that any data trains any model. Every sample begins with the prompt
under which the policy will be sampled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flows.terminal.failures import FlowError
from storage.records import Level, Program, Trajectory
from storage.versions import DatasetVersion
from tirgen.embedded.models import is_pocket
from tirgen.engine.renderer import HfRenderer
from tirgen.filters.filter_config import TrajectoryMode
from tirgen.tir.prompts import (
    BUDGET_SENTENCE,
    PromptSet,
    as_prompts,
    as_setting,
    usual_prompts,
)
from tirgen.tir.reply_tokens import Unspellable, reply_tokens
from trainer.rows import PREPARED, ROWS
from trainer.settings import SftConfig

_BATCH = 1000
"""Samples written at once."""


class Asked(NamedTuple):
    """How a policy is asked, both in its training and whenever it is sampled later."""

    prompts: PromptSet
    template_variables: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """For the policy's manifest, which has the texts of a set that does not ship."""
        return {**self._asdict(), "prompts": as_setting(self.prompts)}

    def renderer(self, folder: Path) -> HfRenderer:
        return HfRenderer.load(folder, self.template_variables)


class NothingToLearn(FlowError):
    """No row of a dataset can be written as tokens of the policy."""

    kind = "training"


def asked_as(version: DatasetVersion, folder: Path, config: SftConfig) -> Asked:
    """From the configuration, else from how the data was made, else the model's usual prompts.

    Raises BadPrompts.
    """
    made = version.manifest.get("config", {})
    engine = made.get("actor") or made.get("policy") or {}
    usual = usual_prompts(is_pocket(folder), thinks=made.get("mode") == TrajectoryMode.REASONING)
    variables = config.template_variables
    return Asked(
        as_prompts(config.prompts or made.get("prompts") or usual),
        engine.get("template_variables", {}) if variables is None else variables,
    )


def prepare(version: DatasetVersion, folder: Path, asked: Asked, out: Path) -> Counter[str]:
    """Write the samples of a version's kept rows into a Parquet file, and count the rows.

    The keys are ``recorded``, ``rendered``, and the reasons why a row was left out.

    Raises NothingToLearn.
    """
    preparing = _Preparing(version, folder, asked)
    with pq.ParquetWriter(out, PREPARED) as writer:
        for batch in _batches(preparing.samples(version)):
            writer.write_table(pa.Table.from_pylist(batch, PREPARED))
        writer.add_key_value_metadata({ROWS: json.dumps(preparing.rows)})
    if preparing.rows and not preparing.rows.keys() & {"recorded", "rendered"}:
        raise NothingToLearn(
            f"no kept row of {version} can be written for {folder}: {told(preparing.rows)}",
            "choose another parent or other template_variables; docs/training.md has both",
        )
    return preparing.rows


_SENTENCES = {
    "recorded": "with their recorded tokens",
    "rendered": "written with the policy's own tokenizer and template",
    Unspellable.UNSPELLABLE: "left out, its tokenizer cannot spell them exactly",
    Unspellable.THINKING_CLOSED: (
        "left out, they think and its prompt closes thinking (see template_variables)"
    ),
    Unspellable.BROKEN_FENCE: "left out, a program has a line of bare backticks",
}


def told(rows: Counter[str]) -> str:
    """One sentence with the counts of `prepare`."""
    parts = [f"{rows[way]} {said}" for way, said in _SENTENCES.items() if rows[way]]
    return "; ".join(parts) or "no kept rows"


class _Preparing:
    def __init__(self, version: DatasetVersion, folder: Path, asked: Asked) -> None:
        self.rows: Counter[str] = Counter()
        self._renderer = asked.renderer(folder)
        self._prompts = asked.prompts
        thinking = version.manifest.get("config", {}).get("thinking") or {}
        self._budget_sentence = thinking.get("budget_sentence", BUDGET_SENTENCE)

    def samples(self, version: DatasetVersion) -> Iterator[dict[str, Any]]:
        for row in version.read():
            if row.kept and row.level is Level.TRAJECTORY and row.program is not Program.COT:
                sample = self._sample(row)
                if isinstance(sample, Unspellable):
                    self.rows[sample] += 1
                else:
                    yield sample

    def _sample(self, row: Trajectory) -> dict[str, Any] | Unspellable:
        prompt = self._renderer.prompt_ids(self._prompts.for_tir(row.problem.question))
        stream = row.tokens
        if stream.token_ids and row.provenance.tokenizer == self._renderer.fingerprint:
            ids = stream.token_ids[stream.prompt_length :]
            mask = stream.loss_mask[stream.prompt_length :]
            way = "recorded"
        else:
            reply = reply_tokens(row, self._renderer, self._budget_sentence)
            if isinstance(reply, Unspellable):
                return reply
            (ids, mask), way = reply, "rendered"
        self.rows[way] += 1
        return {
            "trajectory_id": row.trajectory_id,
            "token_ids": [*prompt, *ids],
            "loss_mask": [False] * len(prompt) + list(mask),
            "prompt_length": len(prompt),
        }


def _batches(samples: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
