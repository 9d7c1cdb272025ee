"""Writing a trained model in the layout that engines load.

The next training begins with the published weights, so they are float32: bfloat16 would lose
updates of 1e-6. Engines convert them when they load, or get a bfloat16 copy, and the float32 master
is in a folder below, where they do not look.
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
from trainer.lora import merged
from trainer.model import MASTER
from trainer.settings import LoraConfig

CONFIG = "config.json"
_NOT_COPIED = (
    MANIFEST, CONFIG, "*.safetensors", "*.safetensors.index.json", "*.bin", "*.pt", "*.pth",
    "*.gguf", "*.svg", "*.jsonl", ".*",
)  # fmt: skip
"""Files of a parent that are not copied to its child."""


def gather(scorer: Any, lora: LoraConfig | None) -> dict[str, Tensor]:
    """The policy's complete state under its usual names, on the CPU of the leading process.

    Every process calls it at the same time; the others get an empty state. Adapters are merged.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(scorer, options=options)
    named = {name.removeprefix("policy."): value for name, value in state.items()}
    if lora is not None and named:
        named = merged(named, lora)
    return {name: value.float().contiguous() for name, value in named.items()}


def write_model(
    folder: Path, state: dict[str, Tensor], policy: Any, parent: Path, half: bool = False
) -> None:
    """Write weights and configuration as transformers saves the model, and copy the parent's other
    files, such as the tokenizer.

    Names on disk are those of the published family, which engines expect. They differ from those in
    memory where transformers fuses weights (experts of Qwen3-MoE) or renames them (head of
    GPT-NeoX). The head is always written. `half` writes bfloat16 weights and the float32 master.
    """
    if half:
        _write_weights(folder / MASTER, state, policy, "float32")
        state = {name: value.bfloat16() for name, value in state.items()}
    _write_weights(folder, state, policy, "bfloat16" if half else "float32")
    for file in sorted(parent.iterdir()):
        if file.is_file() and not any(fnmatch(file.name, pattern) for pattern in _NOT_COPIED):
            shutil.copyfile(file, folder / file.name)


def _write_weights(folder: Path, state: dict[str, Tensor], policy: Any, dtype: str) -> None:
    policy.save_pretrained(folder, state_dict=state)
    # It describes the model in memory, not the weights that were given.
    config = json.loads((folder / CONFIG).read_bytes())
    (folder / CONFIG).write_text(json.dumps({**config, "dtype": dtype}, indent=2) + "\n")
