"""Checkpoints that a killed run goes on from: weights and moments after so many steps.

FOLDER/step-00000003/    written by all processes under another name, then renamed

A checkpoint is complete when it has its name. The newest replaces all before. Written by one
number of processes, it can be read by another. No random state is kept, because a run draws all
its randomness from its seed before the first step.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from storage import files
from trainer.optimisation import Optimizer

_NAME = re.compile(r"step-(\d{8})")


def newest(folder: Path) -> tuple[int, Path] | None:
    """The number of steps after which the newest checkpoint was taken, and where it lies."""
    return next(iter(_newest_first(folder)), None)


def _newest_first(folder: Path) -> list[tuple[int, Path]]:
    found = [(int(match[1]), path) for path in folder.glob("step-*")
             if (match := _NAME.fullmatch(path.name))]  # fmt: skip
    return sorted(found, reverse=True)


def save(folder: Path, steps: int, optimizer: Optimizer) -> None:
    """Keep the state after `steps` steps; called by every process at once."""
    world = optimizer.world
    temporary = folder / ".writing"
    if world.leads:
        files.make_folder(folder)
        shutil.rmtree(temporary, ignore_errors=True)
    world.wait()
    with _quiet():
        dcp.save(_state(optimizer), checkpoint_id=temporary, no_dist=world.size == 1)
    world.wait()
    if world.leads:
        files.place_new_folder(temporary, folder / f"step-{steps:08d}")
        for _, older in _newest_first(folder)[1:]:
            shutil.rmtree(older)
    world.wait()


def load(path: Path, optimizer: Optimizer, *, moments_only: bool = False) -> None:
    """Put a checkpoint's state into the model and the optimiser, or only into the latter."""
    state = _state(optimizer)
    if moments_only:
        del state["model"]
    with _quiet():
        dcp.load(state, checkpoint_id=path, no_dist=optimizer.world.size == 1)
        set_state_dict(
            optimizer.scorer,
            optimizer.adam,
            model_state_dict=state.get("model", {}),
            optim_state_dict=state["optimizer"],
        )


def _state(optimizer: Optimizer) -> dict[str, Any]:
    model, moments = get_state_dict(optimizer.scorer, optimizer.adam)
    return {"model": model, "optimizer": moments}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notice that a single process is one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield
