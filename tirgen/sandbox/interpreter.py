"""The interpreter that runs snippets, and its directories: all that a snippet may read."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # the same snippet prints its sets in the same order everywhere
    "PYTHONINTMAXSTRDIGITS": "0",  # a program may print any integer: its time is limited anyway
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",  # arenas of many threads would use up the address space
    "SYMPY_CACHE_SIZE": "None",  # the usual cache changes at each read: pages for the fork to copy
    "LANG": "C.UTF-8",
    "PATH": "/nonexistent",
}
ISOLATED = ("-S", "-s", "-P", "-B")
"""Flags of every interpreter we start; -I would ignore PYTHONHASHSEED."""
PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_OLDEST = (3, 11)
_ASK_SECONDS = 60.0
_QUESTION = f"""
import json, sys
if sys.version_info < {_OLDEST}:
    sys.exit("Python %d.%d is older than {_OLDEST[0]}.{_OLDEST[1]}" % sys.version_info[:2])
sys.path.append({PACKAGE_ROOT!r})
from tirgen.sandbox.interpreter import readable_paths, site_directories
print(json.dumps([site_directories(), readable_paths()]))
"""


class WrongInterpreter(ValueError):
    """The named interpreter does not exist, is too old, or does not start."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python with its packages."""

    executable: str
    site: list[str]
    """Directories of third-party packages."""
    readable: list[str]
    """Directories and files that a snippet may read."""
    preload: tuple[str, ...] = ()
    """Modules loaded before the first snippet, besides those of `jail.warm`."""

    @classmethod
    def find(cls, python: str | None = None, preload: Sequence[str] = ()) -> Self:
        """The interpreter at this path, such as a virtual environment's; by default ours.

        Raises:
            WrongInterpreter: the message says why.
        """
        if python is None:
            return cls(sys.executable, site_directories(), readable_paths(), tuple(preload))
        path = str(Path(python).expanduser())
        try:
            found = subprocess.run(
                [path, "-c", _QUESTION],
                env={"PATH": os.defpath},
                capture_output=True,
                text=True,
                timeout=_ASK_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WrongInterpreter(f"sandbox.python: {path} does not start: {error}") from error
        if found.returncode:
            reason = found.stderr.strip().rpartition("\n")[2]
            raise WrongInterpreter(f"sandbox.python: {path} cannot run snippets: {reason}")
        packages, readable = json.loads(found.stdout)
        return cls(path, packages, readable, tuple(preload))


def site_directories() -> list[str]:
    """Directories of third-party packages, in the order of search."""
    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def readable_paths() -> list[str]:
    """Standard library, third-party packages, and the system libraries they link against."""
    standard = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    paths = dict.fromkeys([*standard, *site_directories(), *_shared_libraries()])
    existing = [path for path in paths if os.path.exists(path)]
    return [path for path in existing if not _inside_another(path, existing)]


def _shared_libraries() -> list[str]:
    """The directories of the dynamic linker; narrow ones where the distribution has them."""
    triplet = sysconfig.get_config_var("MULTIARCH") or "none"
    narrow = [f"/usr/lib/{triplet}", f"/lib/{triplet}"]
    directories = narrow if os.path.isdir(narrow[0]) else ["/usr/lib", "/lib"]
    if os.path.isdir(f"{sys.prefix}/conda-meta"):
        directories.append(f"{sys.prefix}/lib")
    timezones = "/usr/share/zoneinfo"
    return [*directories, "/lib64", "/usr/lib64", "/etc/ld.so.cache", timezones]


def _inside_another(path: str, paths: list[str]) -> bool:
    return any(other != path and Path(path).is_relative_to(other) for other in paths)
