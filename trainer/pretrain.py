"""Pretraining from scratch: from a directory with a corpus and a model's shape to a model.

A mask says which tokens are learned. Samples are short, so batches are padded, not packed.
Limits: one process, no mixed precision, the corpus must fit into memory.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional
from transformers import Qwen3Config, Qwen3ForCausalLM

from trainer.corpus import IGNORED, PaddedBatch, TokenSample, batches, padded, read_corpus
from trainer.curve import Point, append_point, write_plot, write_points

COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
"""Files of the corpus directory that are copied to the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """How to train. The same values, corpus and machine give exactly the same weights."""

    seed: int = 0
    parent: str = ""
    """Folder of a model of the same shape to begin with; empty for random weights."""
    muon: bool = True
    """Train the matrices within the layers with Muon. Off: with AdamW, as suits weights that are
    trained already. Muon's products are in bfloat16: slow on a CPU without such instructions."""
    batch_tokens: int = 1024
    """With padding. Small, because a small model needs many updates more than exact gradients."""
    learning_rate: float = 1e-2
    """The peak rate for the matrices within the layers."""
    embedding_rate: float = 5e-3
    """The peak rate of AdamW, which trains embeddings, output head and norms."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises; then it falls as a cosine."""
    weight_decay: float = 0.05
    """Only of the matrices within the layers."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    threads: int = 1
    """Threads of torch. Another number rounds differently and gives other weights."""
    log_every: int = 50
    """Steps between points of the loss curve."""
    checkpoint_every: int = 500
    """Steps between checkpoints, from which an interrupted run resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSummary:
    """The result of a finished run."""

    parameters: int
    steps: int
    tokens: int
    """Without padding."""
    loss: float
    """At the last point of the curve."""
    seconds: float


@dataclass(slots=True)
class _Run:
    """The state of a run, which a checkpoint stores."""

    model: Any
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]
    """Of the matrices within the layers, and of all other weights."""
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)


def train(
    corpus: Path,
    out: Path,
    config: PretrainConfig = PretrainConfig(),
) -> PretrainSummary:
    """Train on `corpus` (`corpus.parquet`, `config.json`, tokenizer files) and publish to `out`.

    Writes a model in Hugging Face layout, `loss.jsonl` and `loss.svg` to `out`. Training is in
    float32; the model has the `dtype` of `config.json`, by default float32. Progress goes to
    stderr. Started again with the same arguments, an interrupted run resumes from its last
    checkpoint and ends with the same weights.
    """
    with _threads(config.threads):
        out.mkdir(parents=True, exist_ok=True)
        samples = read_corpus(corpus / "corpus.parquet")
        order = batches(samples, config.seed, config.batch_tokens)
        run = _start(corpus, config)
        _resume(run, out / "checkpoint.safetensors", config)
        _train(run, samples, order, out, config)
        _publish(run, corpus, out)
    return PretrainSummary(
        parameters=sum(weight.numel() for weight in run.model.parameters()),
        steps=run.step,
        tokens=run.tokens,
        loss=run.points[-1].loss,
        seconds=run.seconds,
    )


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor of the peak learning rate: linear warm-up, then a cosine down to 0.01."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    share = (step - rising) / max(1, steps - rising)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


def masked_loss(model: Any, batch: PaddedBatch) -> torch.Tensor:
    """Mean cross-entropy over the learned tokens; logits are computed only where needed."""
    targets = batch.labels[:, 1:]
    learned = targets != IGNORED
    hidden = model.model(input_ids=batch.token_ids, use_cache=False).last_hidden_state
    return functional.cross_entropy(model.lm_head(hidden[:, :-1][learned]), targets[learned])


def _start(corpus: Path, config: PretrainConfig) -> _Run:
    torch.manual_seed(config.seed)
    shape = json.loads((corpus / "config.json").read_text("utf-8"))
    model = (
        Qwen3ForCausalLM.from_pretrained(config.parent, dtype=torch.float32)
        if config.parent
        else Qwen3ForCausalLM(Qwen3Config(**shape))
    )
    model.train()
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim > 1]
    inner = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in inner]
    rate, decay = config.learning_rate, config.weight_decay
    return _Run(
        model,
        (
            torch.optim.Muon(matrices, lr=rate, weight_decay=decay, momentum=0.95)
            if config.muon
            else _adam(matrices, rate, decay),
            _adam(others, config.embedding_rate, 0.0),
        ),
    )


def _adam(weights: list[Any], rate: float, decay: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, betas=(0.9, 0.98), fused=True)


def _train(
    run: _Run,
    samples: list[TokenSample],
    order: list[list[int]],
    out: Path,
    config: PretrainConfig,
) -> None:
    padding = run.model.config.pad_token_id
    write_points(out / "loss.jsonl", run.points)
    started, losses = time.monotonic() - run.seconds, list[float]()
    with _progress(len(order), run.step) as show:
        for indices in order[run.step :]:
            share = schedule(run.step, len(order), config.warmup)
            chosen = [samples[index] for index in indices]
            losses.append(_update(run, padded(chosen, padding), share, config))
            run.step += 1
            run.tokens += sum(len(sample.token_ids) for sample in chosen)
            run.seconds = time.monotonic() - started
            if run.step % config.log_every == 0 or run.step == len(order):
                mean = sum(losses) / len(losses)
                point = Point(
                    step=run.step,
                    tokens=run.tokens,
                    loss=mean,
                    learning_rate=config.learning_rate * share,
                    seconds=round(run.seconds, 2),
                )
                run.points.append(point)
                append_point(out / "loss.jsonl", point)
                losses.clear()
                show(point)
            if run.step % config.checkpoint_every == 0:
                _checkpoint(run, out / "checkpoint.safetensors", config)


def _update(run: _Run, batch: PaddedBatch, share: float, config: PretrainConfig) -> float:
    peaks = (config.learning_rate, config.embedding_rate)
    loss = masked_loss(run.model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
    for optimizer, peak in zip(run.optimizers, peaks, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * share
        optimizer.step()
        optimizer.zero_grad()
    value: float = loss.item()
    return value


def _checkpoint(run: _Run, path: Path, config: PretrainConfig) -> None:
    """Write all tensors by name; everything else is JSON in the file's header."""
    said = {
        "config": asdict(config),
        "step": run.step,
        "tokens": run.tokens,
        "seconds": run.seconds,
        "points": [asdict(point) for point in run.points],
    }
    temporary = path.with_suffix(".tmp")
    save_file(_tensors(run), temporary, {"run": json.dumps(said)})
    os.replace(temporary, path)


def _resume(run: _Run, path: Path, config: PretrainConfig) -> None:
    """Load the checkpoint, if there is one. Raises ValueError if its settings differ."""
    if not path.exists():
        return
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["run"])
        if state["config"] != asdict(config):
            raise ValueError(
                f"{path} is of a run with other settings: remove it, or choose another directory"
            )
        saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    run.model.load_state_dict(_below("model", saved))
    for number, optimizer in enumerate(run.optimizers):
        _load_moments(optimizer, _below(f"moments/{number}", saved))
    run.step, run.tokens, run.seconds = state["step"], state["tokens"], state["seconds"]
    run.points = [Point(**point) for point in state["points"]]


def _tensors(run: _Run) -> dict[str, torch.Tensor]:
    found = {f"model/{name}": value for name, value in run.model.state_dict().items()}
    for number, optimizer in enumerate(run.optimizers):
        for weight, kinds in optimizer.state_dict()["state"].items():
            found |= {f"moments/{number}/{weight}/{kind}": value for kind, value in kinds.items()}
    return found


def _load_moments(optimizer: torch.optim.Optimizer, saved: dict[str, torch.Tensor]) -> None:
    """The settings stay those of this run."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in saved.items():
        weight, kind = name.split("/")
        state.setdefault(int(weight), {})[kind] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _below(folder: str, saved: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{folder}/"
    return {name[len(start) :]: value for name, value in saved.items() if name.startswith(start)}


def _publish(run: _Run, corpus: Path, out: Path) -> None:
    dtype = json.loads((corpus / "config.json").read_text("utf-8")).get("dtype", "float32")
    run.model.eval().to(getattr(torch, dtype)).save_pretrained(out)
    for name in COPIED:
        shutil.copyfile(corpus / name, out / name)
    write_plot(out / "loss.svg", run.points, "loss on learned tokens (nats)")
    (out / "checkpoint.safetensors").unlink(missing_ok=True)


@contextmanager
def _progress(steps: int, done: int) -> Iterator[Callable[[Point], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("pretraining", total=steps, completed=done)

        def show(point: Point) -> None:
            progress.update(task, completed=point.step, description=f"loss {point.loss:.3f}")

        yield show


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
