"""What the command line says and returns when something goes wrong.

0 done          2 usage         4 a prerequisite is missing (`tirgen doctor` helps)
1 work failed   3 not found    70 a bug of ours                  130 interrupted
"""

from __future__ import annotations

import errno
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flows.console import print_json, stderr
from storage.text import safe_text

if TYPE_CHECKING:
    from storage.errors import StoreError

DONE, WORK_FAILED, USAGE, NOT_FOUND, PREREQUISITE, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130


@dataclass(frozen=True, slots=True)
class Failure:
    """The error envelope of `--json`, and its exit code."""

    kind: str
    message: str
    hint: str
    code: int


def classify(error: BaseException) -> Failure:
    """The one named boundary: every exception that leaves a command becomes a failure."""
    if isinstance(error, KeyboardInterrupt):
        hint = "what is committed stays; run the same command again to go on"
        return Failure("interrupted", "interrupted", hint, INTERRUPTED)
    return _classified(error)


def _classified(error: BaseException) -> Failure:
    """Imports every kind of error there is, which a command that ends well does not need."""
    from flows.extras import ExtraMissing
    from flows.service.errors import ServiceFailed
    from flows.training.launch import JobFailed
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
        case ExtraMissing():
            return Failure("prerequisite", str(error), error.fix, PREREQUISITE)
        case ServiceFailed():
            return Failure("service", error.message, error.hint, WORK_FAILED)
        case JobFailed() | LeaseLost() | TooManyInternalErrors():
            return _ended_job(error)
        case EngineError() | OSError():
            kind = "engine" if isinstance(error, EngineError) else "system"
            hint = f"what is committed stays; {_remedy(error)} and run again"
            return Failure(kind, _message(error), hint, WORK_FAILED)
        case _:
            trace = "".join(traceback.format_exception(error))
            return Failure("bug", trace, "this is a bug of tirgen: please report it", BUG)


def _ended_job(error: Exception) -> Failure:
    """A job that ended before its work was done."""
    from flows.training.launch import JobFailed
    from storage.leases import LeaseLost

    match error:
        case JobFailed():
            hint = "what was committed stays: mend the cause and run the same command to go on"
            return Failure("training", str(error), hint, WORK_FAILED)
        case LeaseLost():
            hint = "let the other process finish; the same command then reuses what it made"
            return Failure("lease", str(error), hint, WORK_FAILED)
    hint = (
        "this is a bug of tirgen: please report it with the error of such a row; the same command "
        "goes on with the others"
    )
    return Failure("bug", str(error), hint, BUG)


def _of_the_store(error: StoreError) -> tuple[str, int]:
    from storage.errors import Damaged, NotFound

    if isinstance(error, NotFound):
        return "not_found", NOT_FOUND
    return ("damaged", WORK_FAILED) if isinstance(error, Damaged) else ("usage", USAGE)


def _message(error: Exception) -> str:
    """What the system refused, the file first and without the number of the error."""
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
    return "mend it"


def report(failure: Failure, *, as_json: bool) -> None:
    """One sentence and the next step; an envelope on stdout when JSON was asked for."""
    if as_json:
        envelope = asdict(failure)
        del envelope["code"]
        print_json({"error": envelope})
        return
    stderr.print(safe_text(f"error: {failure.message}", "bold red"), soft_wrap=True)
    say_next(failure.hint)


def say_next(hint: str) -> None:
    """What to do after a failure."""
    stderr.print(safe_text(f"next: {hint}"), soft_wrap=True)
