"""Starts the sandbox where the kernel refuses the system calls given by number, as in a pod."""

import asyncio
import ctypes
import errno
import struct
import sys

from tirgen.sandbox.contract import Limits, SandboxUnavailable
from tirgen.sandbox.jail import libc
from tirgen.sandbox.local import LocalSandbox

LOAD, EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000


def refuse(numbers: list[int]) -> None:
    ops = [(LOAD, 0, 0, 0)]
    for number in numbers:
        ops += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | errno.EPERM)]
    ops.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *op) for op in ops))
    header = struct.pack("@HxxxxxxQ", len(ops), ctypes.addressof(code))
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header, len(header)))


async def main() -> None:
    try:
        async with LocalSandbox() as sandbox:
            execution = await sandbox.run("print(6 * 7)", Limits())
            print(sandbox.mode, execution.stdout.strip())
    except SandboxUnavailable as error:
        print("refused:", error)


refuse([int(number) for number in sys.argv[1:]])
asyncio.run(main())
