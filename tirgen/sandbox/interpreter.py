"""Which directories of this machine are the interpreter's own: all a snippet may ever read."""

from __future__ import annotations

import os
import site
import sysconfig
from pathlib import Path


def site_directories() -> list[str]:
    """Where third-party packages lie, in the order they are searched."""
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
    timezones = "/usr/share/zoneinfo"
    return [*directories, "/lib64", "/usr/lib64", "/etc/ld.so.cache", timezones]


def _inside_another(path: str, paths: list[str]) -> bool:
    return any(other != path and Path(path).is_relative_to(other) for other in paths)
