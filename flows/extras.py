"""The optional extras: a command that needs one says so before it begins anything."""

from __future__ import annotations

import importlib.util


class ExtraMissing(Exception):
    """An extra is not installed (exit code 4)."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix
        """What to run."""


def require_training(what: str) -> None:
    """Raises `ExtraMissing`."""
    if not (_is_there("torch") and _is_there("matplotlib")):
        raise ExtraMissing(
            f"{what} needs torch, which the core install leaves out",
            "pip install torch==2.13.0, then pip install 'tirgen[train]'",
        )


def require_service() -> None:
    """Raises `ExtraMissing`."""
    if not _is_there("prefect"):
        raise ExtraMissing(
            "the service needs Prefect, which the core install leaves out",
            "pip install 'tirgen[service]'",
        )


def require_viewer() -> None:
    """Raises `ExtraMissing`."""
    if not _is_there("inspect_ai"):
        raise ExtraMissing(
            "the viewer is Inspect's, which the core install leaves out",
            "pip install 'tirgen[view]'; without it: tirgen traj show ID --html page.html",
        )


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
