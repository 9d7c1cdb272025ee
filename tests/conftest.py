"""Makes the helper modules that lie beside the tests importable by their own name."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "tir")]
