"""The weights of a model folder as float32 arrays, from one safetensors file or several shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from tirgen.embedded.architecture import ModelShape, ModelUnsupported

Weights = Mapping[str, NDArray[np.float32]]
"""Tensors by their Hugging Face names."""

_READABLE = {"F32": np.float32, "F16": np.float16}


def read_weights(model_dir: Path, config: ModelShape) -> Weights:
    """Exactly the tensors of the configuration; the file of a tied head is ignored.

    Raises `ModelUnsupported` when they are unreadable or do not fit.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for file in _files(model_dir):
        try:
            weights |= load_tensors(file)
        except (OSError, SafetensorError) as error:
            raise ModelUnsupported(f"{file} is no readable safetensors file: {error}") from error
    if config.tied:
        weights.pop("lm_head.weight", None)
    _check(model_dir, config.tensor_shapes(), weights)
    return weights


def load_tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    """Tensors by name. Raises OSError, or SafetensorError for an invalid file."""
    return {
        name: _array(view["dtype"], view["data"]).reshape(view["shape"])
        for name, view in deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    }


def _files(model_dir: Path) -> Iterator[Path]:
    """The shards of the index, or the one file if there is no index."""
    index = model_dir / "model.safetensors.index.json"
    if not index.is_file():
        yield model_dir / "model.safetensors"
        return
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnsupported(f"{index} is not an index of shards: {error!r}") from error
    for name in names:
        if Path(name).name != name:
            raise ModelUnsupported(f"{index} names {name}, which is not a file of the folder")
        yield model_dir / name


def _check(model_dir: Path, needed: Mapping[str, tuple[int, ...]], weights: Weights) -> None:
    for name in sorted(needed.keys() | weights.keys()):
        found = weights[name].shape if name in weights else "missing"
        if needed.get(name) != found:
            raise ModelUnsupported(
                f"the weights in {model_dir} do not fit its config.json: {name} is {found}, "
                f"which should be {needed.get(name, 'missing')}"
            )


def _array(dtype: str, data: bytes) -> NDArray[np.float32]:
    if dtype == "BF16":
        # numpy has no bfloat16: it is the upper half of a float32.
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view(np.float32)
    if dtype not in _READABLE:
        raise SafetensorError(f"tensors of type {dtype} are not weights")
    return np.frombuffer(data, _READABLE[dtype]).astype(np.float32)
