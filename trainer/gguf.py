"""A GGUF file as a Hugging Face folder: `python -m trainer.gguf FILE FOLDER`.

The result has float32 safetensors, `tokenizer.json` and the chat template. transformers can read
the file (with `gguf` and `accelerate`), but does not save it again and loses how the tokenizer
splits text. This module does both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

_SPLITS: dict[str, Callable[[], Any]] = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
}
"""How text is split before merging, by `tokenizer.ggml.pre`, as in llama.cpp's `llama-vocab.cpp`.

transformers reads only the merges and always splits like GPT-2.
"""


class GgufUnsupported(ValueError):
    """The file cannot be converted without changing the model."""


def convert(file: Path, folder: Path) -> None:
    """Write `folder`, completely or not at all. Raises GgufUnsupported for an unknown tokenizer."""
    split = _split(file)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as directory:
        unfinished = Path(directory) / folder.name
        unfinished.mkdir()
        _save_model(file, unfinished)
        _save_tokenizer(file, unfinished, split)
        os.replace(unfinished, folder)


def _split(file: Path) -> Any:
    """A pre-tokenizer of `tokenizers`; its bindings are untyped."""
    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    name = str(field.contents()) if field is not None else "none"
    if name not in _SPLITS:
        raise GgufUnsupported(
            f"{file} splits text like {name!r}; only {', '.join(_SPLITS)} can be converted"
        )
    return _SPLITS[name]()


def _save_model(file: Path, folder: Path) -> None:
    """Write the files that `save_pretrained` does not write for models read from GGUF."""
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def _save_tokenizer(file: Path, folder: Path, split: Any) -> None:
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.pre_tokenizer = split
    tokenizer.save(str(folder / "tokenizer.json"))
    _name_class(folder / "tokenizer_config.json")


def _name_class(file: Path) -> None:
    """Name the generic fast tokenizer; the architecture's own class would rebuild the tokenizer."""
    described = json.loads(file.read_text("utf-8"))
    for key in ("backend", "is_local", "local_files_only"):
        described.pop(key, None)
    described["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(described, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m trainer.gguf", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    convert(options.file, options.folder)


if __name__ == "__main__":
    main()
