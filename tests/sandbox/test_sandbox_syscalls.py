from __future__ import annotations

import re
from pathlib import Path

import pytest

from tirgen.sandbox.jail import syscalls
from tirgen.sandbox.modes import PROMISES, IsolationMode, Promise, promises_table

X86_64 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GENERIC = Path("/usr/include/asm-generic/unistd.h")  # what aarch64 uses


def numbers(header: Path) -> dict[str, int]:
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    return {name: int(number) for name, number in found}


def test_x86_64_numbers_are_the_kernels() -> None:
    kernel = numbers(X86_64)
    ours = syscalls.X86_64.numbers
    assert ours == {name: kernel[name] for name in ours}


def test_aarch64_numbers_are_the_kernels() -> None:
    kernel = numbers(GENERIC)
    kernel["newfstatat"] = kernel["fstatat"]
    named = syscalls.X86_64.numbers
    assert syscalls.AARCH64.numbers == {name: kernel[name] for name in named if name in kernel}


def test_the_table_of_promises_in_the_docs_is_the_one_doctor_shows() -> None:
    page = Path(__file__).parents[2] / "docs/sandbox.md"
    assert promises_table() in page.read_text()


def test_every_mode_has_its_column_and_the_jails_promise_what_the_self_test_proves() -> None:
    assert Promise._fields == ("what", *IsolationMode)
    by_name = {promise.what: promise for promise in PROMISES}
    for what in ("no socket, no network", "no process or program is started"):
        assert [getattr(by_name[what], mode) for mode in IsolationMode] == [
            "yes",
            "yes",
            "yes",
            "no",
        ]
