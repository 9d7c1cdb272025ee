import re
from pathlib import Path

import pytest

from tirgen.sandbox.jail.syscalls import _TABLE

X86_64 = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GENERIC = Path("/usr/include/asm-generic/unistd.h")  # what aarch64 uses


def numbers(header: Path) -> dict[str, int]:
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    return {name: int(number) for name, number in found}


def test_x86_64_numbers_are_the_kernels():
    kernel = numbers(X86_64)
    assert {name: pair[0] for name, pair in _TABLE.items()} == {n: kernel[n] for n in _TABLE}


def test_aarch64_numbers_are_the_kernels():
    kernel = numbers(GENERIC)
    kernel["newfstatat"] = kernel["fstatat"]
    assert {name: pair[1] for name, pair in _TABLE.items()} == {n: kernel.get(n) for n in _TABLE}
