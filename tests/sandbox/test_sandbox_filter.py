"""The generated filters, run in an interpreter of classic BPF: here for both processors."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from tirgen.sandbox.jail import seccomp
from tirgen.sandbox.jail.syscalls import AARCH64, X86_64, Machine

LOAD, EQUAL, AT_LEAST, ANY_BIT, JUMP, RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
ALLOW, ASK, KILL, ERRNO = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000
REFUSE = ERRNO | errno.EPERM
MACHINES = pytest.mark.parametrize("machine", [X86_64, AARCH64], ids=["x86-64", "aarch64"])


def verdict(program: list[bytes], arch: int, number: int, *arguments: int) -> int:
    """What the kernel would do with this call, instruction by instruction."""
    arguments = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments)
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack("=HBBI", program[at])
        at += 1
        if code == LOAD:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == RETURN:
            return int(value)
        elif code == JUMP:
            at += value
        else:
            holds = {
                EQUAL: accumulator == value,
                AT_LEAST: accumulator >= value,
                ANY_BIT: bool(accumulator & value),
            }[code]
            at += if_true if holds else if_false


def allowed(program: list[bytes], machine: Machine, *arguments: int) -> set[str]:
    names = {number: name for name, number in machine.numbers.items()}
    return {
        names.get(number, str(number))
        for number in range(1024)
        if verdict(program, machine.audit_arch, number, *arguments) == ALLOW
    }


@MACHINES
def test_exactly_the_listed_calls_are_free(machine: Any) -> None:
    program = seccomp.for_snippet(machine)
    listed = set(seccomp._FREELY) & machine.numbers.keys()
    # with arguments that no argument rule likes
    assert allowed(program, machine, 1 << 31, 99, 1) == listed


@MACHINES
def test_calls_with_rules_are_decided_by_their_arguments(machine: Any) -> None:
    program = seccomp.for_snippet(machine)

    def decide(name: str, *arguments: int) -> int:
        return verdict(program, machine.audit_arch, machine.numbers[name], *arguments)

    own = seccomp._OWN_PID
    assert decide("clone", 0x00010000) == ALLOW
    assert decide("clone", 17) == REFUSE
    assert decide("clone", 0x00010000 | 0x10000000) == REFUSE
    assert decide("clone3") == ERRNO | errno.ENOSYS
    assert decide("sched_yield") == ERRNO
    assert decide("kill", own, 15) == ALLOW
    assert decide("kill", own, 9) == KILL
    assert decide("kill", 1, 15) == REFUSE
    assert decide("tgkill", own, own, 9) == KILL
    assert decide("prlimit64", 0, 7, 0) == ALLOW
    assert decide("prlimit64", 0, 7, 1 << 32) == REFUSE
    assert decide("fcntl", 1, 8) == ERRNO | errno.EINVAL
    assert decide("ioctl", 1, 0x5412) == ERRNO | errno.ENOTTY


@MACHINES
def test_a_session_asks_before_each_fork_and_signals_nobody(machine: Any) -> None:
    program = seccomp.for_session(machine)
    assert verdict(program, machine.audit_arch, machine.numbers["clone"], 17) == ASK
    assert not {"kill", "tgkill"} & allowed(program, machine, seccomp._OWN_PID)


@MACHINES
def test_another_architecture_is_killed(machine: Any) -> None:
    program = seccomp.for_snippet(machine)
    foreign = {X86_64.audit_arch, AARCH64.audit_arch, 3, 40} - {machine.audit_arch}
    for arch in foreign:
        assert verdict(program, arch, machine.numbers["read"]) == KILL


@pytest.mark.parametrize("number", [0x40000000, 0x40000000 + 57, 0xFFFFFFFF])
def test_x32_numbers_are_killed_where_they_exist(number: Any) -> None:
    assert verdict(seccomp.for_snippet(X86_64), X86_64.audit_arch, number) == KILL
    assert verdict(seccomp.for_snippet(AARCH64), AARCH64.audit_arch, number) == REFUSE


@MACHINES
def test_the_filter_is_short_enough_for_the_kernel(machine: Any) -> None:
    assert len(seccomp.for_snippet(machine)) < 4096
