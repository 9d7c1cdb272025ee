"""Makes the helper modules of these tests importable by their own name."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "rollouts")]
