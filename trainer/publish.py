"""A trained model as a policy version of the store, in the layout that engines load.

Weights are float32, whatever they were trained in: an update of 1e-6 is below what bfloat16 can
hold, and the next round begins from what is published. Engines cast as they load.
"""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from storage.numbered import MANIFEST
from trainer.lora import LoraConfig, merged

_NOT_COPIED = (
    MANIFEST, "config.json", "*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt", "*.pth",
    "*.gguf", "*.svg", "*.jsonl", ".*",
)  # fmt: skip
"""What beside a parent's weights is not part of its child."""


def gather(scorer: Any, lora: LoraConfig | None) -> dict[str, Tensor]:
    """The policy's whole state under its usual names, on the CPU of the leading process.

    Called by every process at once; the others get nothing. Adapters are merged.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(scorer, options=options)
    named = {name.removeprefix("policy."): value for name, value in state.items()}
    if lora is not None and named:
        named = merged(named, lora)
    return {name: value.float().contiguous() for name, value in named.items()}


def write_model(folder: Path, state: dict[str, Tensor], config: Any, parent: Path) -> None:
    """Weights, with a head of their own, the model's shape, and the parent's tokenizer files."""
    # Copied, because weights that share memory would be written as one.
    head = {"lm_head.weight": state["lm_head.weight"].clone()}
    save_torch_state_dict({**state, **head}, folder)
    config.dtype = torch.float32
    config.save_pretrained(folder)
    for file in sorted(parent.iterdir()):
        if file.is_file() and not any(fnmatch(file.name, pattern) for pattern in _NOT_COPIED):
            shutil.copyfile(file, folder / file.name)
