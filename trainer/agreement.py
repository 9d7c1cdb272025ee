"""Checks on a real batch, before training, that the trainer computes the model's own scores.

The trainer packs documents into rows, restarts positions at 0 for each, projects only the learned
tokens, and may use another attention kernel. Each of these works for the tested model families and
could silently fail for another one: scaled logits, attention across documents, a kernel that
ignores document boundaries. So some documents of the first batch are scored again, each alone, by
transformers' own forward pass, and the two results must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from trainer.distributed import World, bare
from trainer.model import score
from trainer.packing import Batch, alone, blank, collate

DOCUMENTS = 4
"""Documents that each process scores again; the same number everywhere, because sharded
processes must compute together."""
EXACT, ROUNDED = 1e-3, 0.05
"""Bounds on the mean difference per token in nats, in float32 and in bfloat16."""


class ModelMismatch(RuntimeError):
    """The trainer's scores differ from those of the model."""


def check_scores(scorer: nn.Module, batch: Batch[Any], kind: str, world: World) -> float:
    """Compare the scores of a batch with those of its documents alone; every process calls it.

    Returns the largest mean difference of a document, in nats per token. `kind` names the model in
    the message. Raises ModelMismatch, on every process.
    """
    with torch.no_grad():
        packed = score(scorer, batch, world.device).logprobs.cpu()
        gap = 0.0
        for document, scores in _chosen(batch, packed):
            alone = score(scorer, document, world.device, plain=True).logprobs.cpu()
            gap = max(gap, _difference(scores, alone))
    gap = max(world.gather(gap))
    bound = ROUNDED if bare(scorer).half else EXACT
    if gap > bound:
        raise ModelMismatch(
            f"the log-probabilities that the trainer computes for {kind} differ by {gap:.3g} nats "
            f"a token from those of the model itself (bound {bound:g}): the model or its attention "
            "kernel does not keep packed documents apart, or its layers work otherwise than the "
            "trainer expects. Try packing.row_tokens = 1, or model.attention = eager; if neither "
            "helps, this model cannot be trained here"
        )
    return gap


def _difference(packed: Tensor, alone: Tensor) -> float:
    """Mean of |difference|; where broken weights make both NaN, they agree."""
    if not len(packed):
        return 0.0
    both_broken = packed.isnan() & alone.isnan()
    differences = torch.where(both_broken, 0.0, (packed - alone).abs())
    return float(differences.mean().nan_to_num(torch.inf))


def _chosen(batch: Batch[Any], packed: Tensor) -> Iterator[tuple[Batch[Any], Tensor]]:
    """`DOCUMENTS` documents, each as its own batch, with their packed scores.

    Documents at the end of a row come first, because only those before can leak into a document.
    Blank batches fill up the number.
    """
    counts = [sample.learned_count for sample in batch.samples]
    scored = zip(batch.starts, batch.samples, packed.split(counts), strict=True)
    for _, sample, scores in sorted(scored, key=lambda found: -found[0])[:DOCUMENTS]:
        yield collate([[alone(sample)]]), scores
    for _ in range(DOCUMENTS - len(batch.samples)):
        yield blank(), torch.zeros(0)
