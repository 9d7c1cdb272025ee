"""How fast a training is, against what this machine's matrix products reach.

    MFU = operations of the model's forward and backward pass / (seconds * processes * peak)

The operations are those of `trainer.sizing.Size.flops`, so activations that are computed again do
not count. The peak is measured, in the precision of the training: on a CPU with as many threads as
it trains with.
"""

from __future__ import annotations

import time
from functools import cache

import torch

PRODUCTS = 3
"""Measured products, of which the fastest counts."""


@cache
def matrix_peak(device: torch.device, half: bool) -> float:
    """Operations per second of one square matrix product."""
    width = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if half else torch.float32
    left, right = (torch.ones(width, width, device=device, dtype=dtype) for _ in range(2))
    left @ right  # loads the kernel
    return 2.0 * width**3 / min(_seconds(left, right) for _ in range(PRODUCTS))


def bfloat16_gain(device: torch.device) -> float:
    """How many times as fast as in float32 the matrix products of this device are in bfloat16.

    A processor without instructions for it (AMX, avx512_bf16) takes up to a hundred times longer.
    """
    return matrix_peak(device, half=True) / matrix_peak(device, half=False)


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    _wait(left.device)
    started = time.perf_counter()
    left @ right
    _wait(left.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
