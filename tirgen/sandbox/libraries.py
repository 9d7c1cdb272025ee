"""The libraries that programs of mathematics models import, and which of them a sandbox lacks."""

from __future__ import annotations

import json

from storage.records import Outcome
from tirgen.sandbox.contract import Limits, Sandbox

LIBRARIES = {
    "numpy": "numpy", "sympy": "sympy", "mpmath": "mpmath", "scipy": "scipy", "pandas": "pandas",
    "matplotlib": "matplotlib", "networkx": "networkx", "gmpy2": "gmpy2", "z3": "z3-solver",
    "ortools": "ortools", "sklearn": "scikit-learn", "statsmodels": "statsmodels", "pulp": "pulp",
    "shapely": "shapely", "cvxpy": "cvxpy",
}  # fmt: skip
"""Module: package. Those of the extra ``snippets``, and numpy, sympy and mpmath."""
_LIMITS = Limits(cpu_seconds=10, wall_seconds=20, memory_mb=256)
_PROBE = f"""
import importlib.util, json
print(json.dumps([name for name in {list(LIBRARIES)} if not importlib.util.find_spec(name)]))
"""


async def missing_libraries(sandbox: Sandbox) -> list[str] | None:
    """Modules that a program would not find; None if the probe failed."""
    execution = await sandbox.run(_PROBE, _LIMITS)
    if execution.outcome is not Outcome.OK:
        return None
    return [str(name) for name in json.loads(execution.stdout)]


def install_command(missing: list[str], python: str | None) -> str:
    """How to install them for the interpreter that runs programs."""
    if python is None:
        return "pip install 'tirgen[snippets]'"
    return f"{python} -m pip install {' '.join(LIBRARIES[name] for name in missing)}"
