"""What the embedded engine is called and where its model lies; light enough to import anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MODEL_DIR: Final = Path(__file__).with_name("model")
"""The model that ships with the package, in the Hugging Face layout."""
THINKING_DIR: Final = Path(__file__).with_name("thinking_model")
"""The one that thinks, beside it."""
PACKAGED: Final = {"base": MODEL_DIR, "thinking": THINKING_DIR}
"""What may stand in a configuration in place of a folder."""
MODEL_NAME: Final = "pocket"
"""What `/v1/models` calls it."""
API_KEY_VARIABLE: Final = "TIRGEN_POCKET_API_KEY"
"""When set in the environment, requests under /v1 must carry it as a bearer token."""
