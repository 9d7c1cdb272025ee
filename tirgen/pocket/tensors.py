"""Reads a safetensors file into float32 arrays, bfloat16 included, which numpy has no type for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

_READABLE = {"F32": np.float32, "F16": np.float16}


def load_tensors(file: Path) -> dict[str, NDArray[np.float32]]:
    """Tensors by name. Raises FileNotFoundError, or SafetensorError when it is not readable."""
    return {
        name: _array(view["dtype"], view["data"]).reshape(view["shape"])
        for name, view in deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    }


def _array(dtype: str, data: bytes) -> NDArray[np.float32]:
    if dtype == "BF16":
        # The upper half of a float32: its sign, its exponent and the first bits of its mantissa.
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view(np.float32)
    if dtype not in _READABLE:
        raise SafetensorError(f"tensors of type {dtype} are not weights")
    return np.frombuffer(data, _READABLE[dtype]).astype(np.float32)
