"""What the command line prints and returns when something goes wrong, and which extra is missing.

0 done          2 usage         4 a prerequisite is missing (`tirgen doctor` helps)
1 work failed   3 not found    70 a bug of tirgen                130 interrupted
"""

from __future__ import annotations

import errno
import importlib.util
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from flows.terminal.console import print_json, stderr
from storage.text import safe_text

if TYPE_CHECKING:
    from storage.errors import StoreError

DONE, WORK_FAILED, USAGE, NOT_FOUND, PREREQUISITE, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130


class FlowError(Exception):
    """Base of what `flows` raises on purpose: what went wrong, and what to do next."""

    kind: ClassVar[str]
    code: ClassVar[int] = WORK_FAILED

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.message = message
        self.hint = hint


class ExtraMissing(FlowError):
    """An optional extra is not installed (exit code 4)."""

    kind = "prerequisite"
    code = PREREQUISITE


@dataclass(frozen=True, slots=True)
class Failure:
    """The error document of `--json`, and the exit code."""

    kind: str
    message: str
    hint: str
    code: int


def require_training(what: str) -> None:
    """Raises `ExtraMissing`; a command calls it before it begins anything."""
    if not _is_installed("torch"):
        raise ExtraMissing(
            f"{what} needs torch, which the core install leaves out",
            "pip install torch==2.13.0, then pip install 'tirgen[train]'",
        )


def require_service() -> None:
    """Raises `ExtraMissing`."""
    if not _is_installed("prefect"):
        raise ExtraMissing(
            "the service needs Prefect, which the core install leaves out",
            "pip install 'tirgen[service]'",
        )


def require_viewer() -> None:
    """Raises `ExtraMissing`."""
    if not _is_installed("inspect_ai"):
        raise ExtraMissing(
            "the viewer is Inspect's, which the core install leaves out",
            "pip install 'tirgen[view]'; without it: tirgen traj show ID --html page.html",
        )


def require_mcp() -> None:
    """Raises `ExtraMissing`."""
    if not _is_installed("mcp"):
        raise ExtraMissing(
            "an MCP server needs the official SDK, which the core install leaves out",
            "pip install 'tirgen[mcp]'",
        )


def classify(error: BaseException) -> Failure:
    """Turn any exception that leaves a command into a failure."""
    if isinstance(error, KeyboardInterrupt):
        hint = "what is committed stays; run the same command again to continue"
        return Failure("interrupted", "interrupted", hint, INTERRUPTED)
    if isinstance(error, FlowError):
        return Failure(error.kind, error.message, error.hint, error.code)
    return _classified(error)


def _classified(error: BaseException) -> Failure:
    """Imports every package that has errors of its own; only a command that fails pays for it."""
    from storage.errors import StoreError
    from storage.leases import LeaseLost
    from tirgen.data.errors import ProblemsError
    from tirgen.engine.errors import EngineError, EngineMisconfigured
    from tirgen.jobs.job import TooManyInternalErrors
    from tirgen.sandbox.contract import SandboxUnavailable
    from tirgen.settings import ConfigError
    from tirgen.sockets.secret import SecretExposed
    from tirgen.verification import VerifierUnavailable

    match error:
        case StoreError():
            kind, code = _of_the_store(error)
            return Failure(kind, error.message, error.hint, code)
        case ConfigError():
            hint = "docs/configuration.md lists every setting; --dry-run prints those of a run"
            return Failure("usage", str(error), hint, USAGE)
        case ProblemsError():
            hint = "docs/problems.md has the layouts; --dry-run shows what is read of a file"
            return Failure("usage", str(error), hint, USAGE)
        case EngineMisconfigured() | SandboxUnavailable() | VerifierUnavailable() | SecretExposed():
            return Failure("prerequisite", str(error), "tirgen doctor checks it all", PREREQUISITE)
        case LeaseLost():
            hint = "wait for the other process; the same command then reuses what it made"
            return Failure("lease", str(error), hint, WORK_FAILED)
        case EngineError() | OSError():
            kind = "engine" if isinstance(error, EngineError) else "system"
            hint = f"what is committed stays; {_remedy(error)} and run again"
            return Failure(kind, _message(error), hint, WORK_FAILED)
        case TooManyInternalErrors():
            hint = (
                "this is a bug of tirgen: please report it with the error of one such row; the "
                "same command continues with the other rows"
            )
            return Failure("bug", str(error), hint, BUG)
        case _:
            trace = "".join(traceback.format_exception(error))
            return Failure("bug", trace, "this is a bug of tirgen: please report it", BUG)


def _of_the_store(error: StoreError) -> tuple[str, int]:
    from storage.errors import Damaged, NotFound, ObjectStoreError

    if isinstance(error, NotFound):
        return "not_found", NOT_FOUND
    if isinstance(error, ObjectStoreError):
        return "store", WORK_FAILED
    return ("damaged", WORK_FAILED) if isinstance(error, Damaged) else ("usage", USAGE)


def _message(error: Exception) -> str:
    """What the system refused: the file first, and no error number."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _remedy(error: Exception) -> str:
    match getattr(error, "errno", None):
        case errno.ENOSPC | errno.EDQUOT:
            return "free some space"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "choose a place that you may write to (--store)"
        case errno.EEXIST | errno.ENOTDIR | errno.ENOENT | errno.EISDIR:
            return "give a path that exists, and a folder where one is needed (as for --store),"
    return "remove the cause"


def report(failure: Failure, *, as_json: bool) -> None:
    """Print the failure and the next step; with `as_json`, one document on stdout."""
    if as_json:
        document = asdict(failure)
        del document["code"]
        print_json({"error": document})
        return
    stderr.print(safe_text(f"error: {failure.message}", "bold red"), soft_wrap=True)
    say_next(failure.hint)


def say_next(hint: str) -> None:
    """What to do after a failure."""
    stderr.print(safe_text(f"next: {hint}"), soft_wrap=True)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
