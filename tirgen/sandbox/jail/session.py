"""A session inside its jail: each state of the interpreter is a process, each cell a fork of one.

The init of the jail runs no model-written code; it reaps. A state waits for orders on its own
socket. To run a cell it forks; the fork runs the cell and becomes the next state. A cell that
crashes or is killed ends only its fork: the state before it is unchanged, and any number of cells
can start from one state. A cell can damage this interpreter, but only for its own session.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import threading
import types
from typing import NoReturn

from tirgen.sandbox.jail import child, runner
from tirgen.sandbox.jail.wire import JAIL_FAILED_STATUS, READY, Cell, Request

# our own names, because cells can replace those in the modules
_exit, _fork, _read, _wait4, _write = os._exit, os.fork, os.read, os.wait4, os.write
_receive = socket.recv_fds
_random_state, _restore_random = random.getstate, random.setstate


def run_session(jail: child.Jail, request: Request, fds: list[int]) -> NoReturn:
    """Become the init of a session. Never returns."""
    (control_fd,) = fds
    try:
        _close_jail(jail, request, control_fd)
        gc.enable()
        with _socket(control_fd) as control:
            if _fork() == 0:
                random.seed(0)  # Python seeds it again in each fork
                _write(control_fd, Cell.HERE + Cell.PID.pack(os.getpid()))
                _State(control, runner.fresh_main()).serve()
        while True:
            _wait4(-1, 0)
    finally:
        _exit(JAIL_FAILED_STATUS)


def _close_jail(jail: child.Jail, request: Request, control_fd: int) -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for target in (0, 1, 2):
        os.dup2(null, target, inheritable=False)
    child.keep_only(control_fd, jail.ruleset_fd)
    control = _socket(control_fd)
    try:
        jail.close(request)
        listener = jail.session_filter.install_with_listener()
    except OSError as error:
        _write(control_fd, f"the jail could not be built: {error}".encode())
        _exit(JAIL_FAILED_STATUS)
    socket.send_fds(control, [Cell.JAILED], [listener])
    os.close(listener)
    control.detach()


def _socket(fd: int) -> socket.socket:
    """With family and type given: seccomp refuses the calls that look them up."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=fd)


class _State:
    """The interpreter after some cells, waiting in a process of its own."""

    def __init__(self, control: socket.socket, main: types.ModuleType) -> None:
        self._control = control
        self._main = main
        self._cells = 0

    def serve(self) -> NoReturn:
        """Carry out orders until the other end of the socket is closed."""
        try:
            while True:
                order, fds, _, _ = _receive(self._control, 16, 5)
                if order in (Cell.RUN, Cell.RUN_AND_ECHO):
                    self._fork_cell(order == Cell.RUN_AND_ECHO, fds)
                elif order[:1] == Cell.REAP:
                    self._reap(*Cell.PID.unpack(order[1:]))
                else:
                    _exit(0)
        finally:
            _exit(JAIL_FAILED_STATUS)

    def _fork_cell(self, echo: bool, fds: list[int]) -> None:
        state = _random_state()
        if _fork() == 0:
            _restore_random(state)
            self._become_next(echo, fds)
            return
        for fd in fds:
            os.close(fd)

    def _become_next(self, echo: bool, fds: list[int]) -> None:
        """In the fork: run the cell, report how it ended, and go on as the next state."""
        code, out, err, ready, control = fds
        self._control.close()
        self._control = _socket(control)
        _write(control, Cell.HERE + Cell.PID.pack(os.getpid()))
        _read(control, 1)
        source = child.read_source(code)
        os.dup2(out, 1, inheritable=False)
        os.dup2(err, 2, inheritable=False)
        _write(ready, READY)
        for fd in (code, out, err, ready):
            os.close(fd)
        self._cells += 1
        runner.open_streams()
        status = runner.execute(source, f"<cell {self._cells}>", self._main, echo)
        _join_threads()
        _write(control, Cell.DONE + bytes([status]))

    def _reap(self, pid: int) -> None:
        _, status, usage = _wait4(pid, 0)
        _write(self._control.fileno(), Cell.ENDED.pack(status, usage.ru_maxrss))


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
