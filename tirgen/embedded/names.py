"""What the embedded engine is called and where its model lies; light enough to import anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

MODEL_DIR: Final = Path(__file__).parent / "pocket" / "model"
"""The pocket, which ships with the package, in the Hugging Face layout."""
THINKING_DIR: Final = MODEL_DIR.with_name("thinking_model")
"""The pocket that thinks."""
PACKAGED: Final = {"base": MODEL_DIR, "thinking": THINKING_DIR}
"""What may stand in a configuration in place of a folder."""
MODEL_NAME: Final = "pocket"
"""What `/v1/models` calls it."""
THINKING_NAME: Final = f"{MODEL_NAME}-thinking"
SERVED: Final = {MODEL_NAME: MODEL_DIR, THINKING_NAME: THINKING_DIR}
"""The names under which packaged models are served."""
API_KEY_VARIABLE: Final = "TIRGEN_POCKET_API_KEY"
"""When set in the environment, requests under /v1 must carry it as a bearer token."""


def model_name(model_dir: Path) -> str:
    """What a model is called that is given no name: the packaged ones theirs, others the folder's.

    A policy of a store lies in `NAME/versions/vN` and is called `NAME@vN`.
    """
    folder = model_dir.resolve()
    for name, packaged in SERVED.items():
        if folder == packaged:
            return name
    if folder.parent.name == "versions":
        return f"{folder.parent.parent.name}@{folder.name}"
    return folder.name


def is_pocket(folder: Path) -> bool:
    """The model in the folder reads and writes as the packaged ones do: its tokenizer is theirs.

    So do all that are trained from them, wherever they are served and whatever they are called.
    """
    own = _vocabulary(folder / "tokenizer.json")
    return own is not None and any(
        own == _vocabulary(packaged / "tokenizer.json") for packaged in PACKAGED.values()
    )


def _vocabulary(file: Path) -> Any:
    """What decides the ids, however the file was written; None where it cannot be read."""
    try:
        return json.loads(file.read_bytes())["model"]["vocab"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
