"""A sandbox held by an unprivileged user, driven over stdin and stdout, one JSON line a snippet.

Started as root it first becomes uid 65534. Where the interpreter lies under a directory only root
may enter, a private mount namespace makes it reachable at the same path.
"""

import asyncio
import dataclasses
import json
import os
import stat
import sys
from pathlib import Path

from tirgen.sandbox.contract import Limits
from tirgen.sandbox.jail import libc
from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.modes import IsolationMode

NOBODY = 65_534


def become_nobody() -> None:
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", None, libc.MS_REC | libc.MS_PRIVATE)
    _open_the_way_to(Path(sys.base_prefix))
    os.chdir("/")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execv(sys.executable, [sys.executable, *sys.argv])


def _open_the_way_to(path: Path) -> None:
    closed = [p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return
    fd = os.open(path, os.O_PATH)
    libc.mount("tmpfs", str(closed[0]), "tmpfs", 0, "mode=755")
    path.mkdir(parents=True)
    libc.mount(f"/proc/self/fd/{fd}", str(path), None, libc.MS_BIND)


async def serve(mode: IsolationMode) -> None:
    async with LocalSandbox(mode=mode) as sandbox:
        print(json.dumps({"mode": sandbox.mode}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            execution = await sandbox.run(request["code"], Limits(**request["limits"]))
            print(json.dumps(dataclasses.asdict(execution)), flush=True)


if __name__ == "__main__":
    if os.getuid() == 0:
        become_nobody()
    asyncio.run(serve(IsolationMode(sys.argv[1])))
