"""Makes the helper modules that lie beside the tests importable by their own name."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent / "tir")]
