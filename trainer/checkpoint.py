"""Checkpoints from which a killed run resumes: weights and moments after a number of steps.

FOLDER/step-00000003/    written by all processes under another name, then renamed
    shard-*.safetensors  tensors, one share per process (torch's distributed checkpoints)
    checkpoint.json      the digest of every file

The files are tensors and JSON only: stores may be shared, and pickled metadata would let anyone who
can write to the store run code in the process that loads it. A changed file stops the load before
anything is read.

A checkpoint is complete when it has its final name. Another number of processes can read it than
wrote it. No random state is stored, because a run derives all randomness from its seed before the
first step. The optimiser's settings are those of the run that loads.
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
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from storage import documents, files
from storage.errors import Damaged
from trainer.distributed import World
from trainer.optimisation import Optimizer

INDEX = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8})")
_TENSORS = ".safetensors"


class DamagedCheckpoint(ValueError):
    """Files of a checkpoint were changed or are missing."""


def newest(folder: Path) -> tuple[int, Path] | None:
    """The newest checkpoint as its number of steps and its folder, or None."""
    return next(iter(_newest_first(folder)), None)


def _newest_first(folder: Path) -> list[tuple[int, Path]]:
    files.update(folder)
    found = [(int(match[1]), path) for path in folder.glob("step-*")
             if (match := _NAME.fullmatch(path.name))]  # fmt: skip
    return sorted(found, reverse=True)


def save(folder: Path, steps: int, optimizer: Optimizer, kept: int = 1) -> None:
    """Save the state after `steps` steps, and keep only the newest `kept` checkpoints.

    Every process calls it at the same time.
    """
    world = optimizer.world
    temporary = folder / ".writing"
    if world.leads:
        files.make_folder(folder)
        shutil.rmtree(temporary, ignore_errors=True)
    world.wait()
    writer = dcp.HuggingFaceStorageWriter(str(temporary), save_distributed=True)
    with _quiet():
        dcp.save(_tensors(optimizer), storage_writer=writer, no_dist=world.size == 1)
    world.wait()
    digests = _digests(temporary, world)
    if world.leads:
        index = {"steps": steps, "files": digests}
        (temporary / INDEX).write_bytes(documents.dump(index, indent=2) + b"\n")
        files.place_new_folder(temporary, folder / f"step-{steps:08d}")
        for _, older in _newest_first(folder)[kept:]:
            files.remove_folder(older)
    world.wait()


def load(path: Path, optimizer: Optimizer, *, moments_only: bool = False) -> None:
    """Load a checkpoint into the model and the optimiser, or only into the optimiser.

    Raises DamagedCheckpoint, on every process, before anything is loaded.
    """
    if optimizer.world.leads:
        files.fetch_folder(path)
    optimizer.world.wait()
    _require_intact(path, optimizer.world)
    model, moments = get_state_dict(optimizer.scorer, optimizer.adam)
    tensors = _named(model, moments)
    if moments_only:
        tensors = {name: value for name, value in tensors.items() if not name.startswith("model/")}
    reader = dcp.HuggingFaceStorageReader(str(path))
    with _quiet():
        dcp.load(tensors, storage_reader=reader, no_dist=optimizer.world.size == 1)
        set_state_dict(
            optimizer.scorer,
            optimizer.adam,
            # Read in place: `model` and `moments` hold the same tensors.
            model_state_dict={} if moments_only else model,
            optim_state_dict=moments,
        )


def _tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    return _named(*get_state_dict(optimizer.scorer, optimizer.adam))


def _named(model: dict[str, Any], moments: Any) -> dict[str, Tensor]:
    """All tensors of both states by name: ``model/WEIGHT`` and ``moments/KIND/WEIGHT``."""
    found = {f"model/{name}": value for name, value in model.items()}
    for name, kinds in moments["state"].items():
        found |= {f"moments/{kind}/{name}": value for kind, value in kinds.items()}
    return found


def _digests(folder: Path, world: World) -> dict[str, str]:
    """The SHA-256 of every tensor file by name; each process reads a share of the files."""
    names = sorted(path.name for path in folder.glob(f"*{_TENSORS}"))
    own = {name: files.sha256(folder / name) for name in names[world.rank :: world.size]}
    return {name: digest for part in world.gather(own) for name, digest in part.items()}


def _require_intact(path: Path, world: World) -> None:
    try:
        written = documents.read(path / INDEX)["files"]
    except (OSError, Damaged) as error:
        raise DamagedCheckpoint(_hint(path, f"{INDEX} cannot be read ({error})")) from error
    found = _digests(path, world)
    changed = sorted(name for name in {*written, *found} if written.get(name) != found.get(name))
    if changed:
        raise DamagedCheckpoint(_hint(path, f"{', '.join(changed)} changed since it was written"))


def _hint(path: Path, what: str) -> str:
    return (
        f"the checkpoint {path} is damaged: {what}; nothing of it was loaded. Remove the folder, "
        "and the run goes on from the checkpoint before it, or from its beginning"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warning that the process is alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield
