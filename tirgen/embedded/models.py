"""Which model an engine configuration means: packaged models, model folders, and their names.

Imports no OpenVINO, so that every process may use it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from tirgen.engine.engine_config import DEFAULT_MODEL, EngineConfig

MODEL_DIR: Final = Path(__file__).parent / "pocket" / "model"
"""The pocket, which ships with the package, in the Hugging Face layout."""
THINKING_DIR: Final = MODEL_DIR.with_name("thinking_model")
"""The pocket that thinks before it answers."""
THINKING_NAME: Final = "pocket-thinking"
PACKAGED: Final = {DEFAULT_MODEL: MODEL_DIR, THINKING_NAME: THINKING_DIR}
"""The packaged models: a configuration may name one instead of a folder."""
API_KEY_VARIABLE: Final = "TIRGEN_SERVE_API_KEY"
"""If this environment variable is set, the server asks for its value as a bearer token."""


def model_folder(model: str | None) -> Path:
    """The folder of a packaged model or the folder itself; the pocket by default."""
    name = model or DEFAULT_MODEL
    return PACKAGED.get(name) or Path(name)


def model_name(model_dir: Path) -> str:
    """The default name of a model: the packaged name, else the folder's name.

    A policy of a store is in `NAME/versions/vN` and is called `NAME@vN`.
    """
    folder = model_dir.resolve()
    for name, packaged in PACKAGED.items():
        if folder == packaged:
            return name
    if folder.parent.name == "versions":
        return f"{folder.parent.parent.name}@{folder.name}"
    return folder.name


def model_label(engine: EngineConfig) -> str:
    """The name of an engine's model in rows and price lists."""
    if engine.kind == "embedded":
        return model_name(model_folder(engine.model))
    return str(engine.model)


def tokenizer_source(engine: EngineConfig) -> str | None:
    """The folder or Hugging Face id of tokenizer and chat template; None for ``chat``.

    A server's model with the name of a packaged one has its tokenizer (`tirgen serve`); the probe
    refuses the server if that is wrong.
    """
    if engine.kind == "chat":
        return None
    if engine.kind == "embedded":
        return str(model_folder(engine.model))
    model = str(engine.model)
    return engine.tokenizer or str(PACKAGED.get(model, model))


def is_pocket_engine(engine: EngineConfig) -> bool:
    """The engine's model is a pocket or was trained from one, wherever it is served."""
    source = tokenizer_source(engine)
    return source is not None and is_pocket(Path(source).expanduser())


def is_pocket(folder: Path) -> bool:
    """The model in the folder is a pocket or was trained from one: its tokenizer is the pocket's.

    The tokenizer decides, since models trained from a pocket can have any name.
    """
    own = _vocabulary(folder / "tokenizer.json")
    return own is not None and any(
        own == _vocabulary(packaged / "tokenizer.json") for packaged in PACKAGED.values()
    )


def engine_identity(engine: EngineConfig) -> dict[str, Any]:
    """What decides the text that an engine returns; for ``embedded`` its weights are part of it."""
    if engine.kind != "embedded":
        return engine.identity()
    return {**engine.identity(), "weights": _digest(model_folder(engine.model))}


def _digest(folder: Path) -> str:
    """Of every file in a model folder, except the store's record of its publication."""
    from storage.numbered import MANIFEST  # with pyarrow, which a configuration does not need

    digest = hashlib.sha256()
    for file in sorted(p for p in folder.glob("*") if p.is_file() and p.name != MANIFEST):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _vocabulary(file: Path) -> Any:
    """The part of a tokenizer that decides the ids; None if it cannot be read."""
    try:
        return json.loads(file.read_bytes())["model"]["vocab"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
