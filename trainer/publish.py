"""A trained model as a policy version of the store, in the layout that engines load.

Weights are float32, whatever they were trained in: an update of 1e-6 is below what bfloat16 can
hold, and the next round begins from what is published. Engines cast as they load.
"""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from storage.numbered import MANIFEST
from trainer.lora import LoraConfig, merged

CONFIG = "config.json"
_NOT_COPIED = (
    MANIFEST, CONFIG, "*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt", "*.pth",
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


def write_model(folder: Path, state: dict[str, Tensor], policy: Any, parent: Path) -> None:
    """Weights and shape as transformers saves the model, and the parent's tokenizer files.

    Names on disk are those that the family is published with, which engines read: they differ from
    those in memory where transformers fuses weights (the experts of Qwen3-MoE) or renames them
    (the head of GPT-NeoX). The head is always among them.
    """
    policy.save_pretrained(folder, state_dict=state)
    # What it says of the model in memory does not hold for the weights that were given.
    config = json.loads((folder / CONFIG).read_bytes())
    (folder / CONFIG).write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")
    for file in sorted(parent.iterdir()):
        if file.is_file() and not any(fnmatch(file.name, pattern) for pattern in _NOT_COPIED):
            shutil.copyfile(file, folder / file.name)
