"""Calls between two jailed processes: plain data in, plain data out, through descriptor 0.

The text of this module is put before a solution and before its tests, which run in two jails. No
object of the solution ever exists in the process that judges it: an answer arrives as JSON and is
rebuilt from exact builtin types. Only the standard library is available there.

An answer without a plain form (an array, an instance of any class) arrives as a bare object, which
is equal to nothing. Not covered: changes that a call makes to its arguments.
"""

from __future__ import annotations

import builtins
import json
import numbers
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

LONGEST_MESSAGE = 64 << 20
"""Bytes."""
LONGEST_ITERATOR = 100_000
"""Most items of an iterator; it is sent whole."""
OPAQUE = {"object": None}
_EXACT_IN_JSON = 1 << 53
_LENGTH_BYTES = 8


class SolutionFailed(Exception):
    """The other process ended, broke the protocol, or raised an exception that is not builtin."""


_NEVER_REBUILT = (StopIteration, StopAsyncIteration, Warning, BaseExceptionGroup)
"""A StopIteration would end a loop of the tests without an error."""
_EXCEPTIONS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
    if not issubclass(kind, _NEVER_REBUILT)
}


class Peer:
    """One end of the channel; the other end calls `functions` by number."""

    def __init__(self, descriptor: int, *functions: Callable[..., Any]) -> None:
        self._descriptor = descriptor
        self._functions = list(functions)

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the other end, and answer its calls until it returns.

        Raises `SolutionFailed`, or the builtin exception that the function raised.
        """
        self._send(["call", number, self.encode(args), self.encode(kwargs)])
        while True:
            try:
                kind, *content = self._receive() or ["end"]
                value = self.decode(content[0]) if kind == "value" else None
            except Exception as error:  # noqa: BLE001 - the boundary to hostile bytes
                raise SolutionFailed(f"an answer that cannot be read: {error}") from None
            if kind == "value":
                return value
            if kind == "raise":
                raise _rebuilt(*content)
            if kind != "call":
                raise SolutionFailed("the solution's process ended")
            self._answer(*content)

    def serve(self) -> None:
        """Answer calls until the other end is gone."""
        while message := self._receive():
            self._answer(*message[1:])

    def _answer(self, number: int, args: Any, kwargs: Any) -> None:
        try:
            function = self._functions[number]
            value = self.encode(function(*self.decode(args), **self.decode(kwargs)))
        except Exception as error:  # noqa: BLE001 - the boundary to the other end
            self._send(["raise", type(error).__name__, str(error)])
        else:
            self._send(["value", value])

    def _send(self, message: list[Any]) -> None:
        data = json.dumps(message).encode()
        data = len(data).to_bytes(_LENGTH_BYTES, "big") + data
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _receive(self) -> list[Any] | None:
        """The next message; None at the end."""
        header = self._read(_LENGTH_BYTES)
        length = int.from_bytes(header, "big")
        if not header:
            return None
        if length > LONGEST_MESSAGE:
            raise ValueError(f"{length} bytes, {LONGEST_MESSAGE} at most")
        message: list[Any] = json.loads(self._read(length))
        return message

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = os.read(self._descriptor, min(size - len(data), 1 << 20))
            if not chunk:
                return b""
            data += chunk
        return bytes(data)

    def encode(self, value: Any) -> Any:
        """`value` in a form that JSON can hold; `OPAQUE` for what has no plain form."""
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, numbers.Number):
            return _encoded_number(value)
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        if isinstance(value, dict):
            return {"dict": [[self.encode(key), self.encode(item)] for key, item in value.items()]}
        return self._encoded_other(value)

    def _encoded_other(self, value: Any) -> Any:
        for name, kind in (("tuple", tuple), ("set", set), ("frozenset", frozenset)):
            if isinstance(value, kind):
                return {name: [self.encode(item) for item in value]}
        if isinstance(value, bytes | bytearray):
            return {"bytes": value.hex()}
        if isinstance(value, range):
            return {"range": [self.encode(part) for part in (value.start, value.stop, value.step)]}
        if isinstance(value, Iterator):
            return {"iterator": [self.encode(item) for item in _all_of(value)]}
        if callable(value) and not isinstance(value, type):
            self._functions.append(value)
            return {"function": len(self._functions) - 1}
        if getattr(value, "ndim", None) == 0:  # numpy's bool is not registered as a number
            return self.encode(value.item())
        return OPAQUE

    def decode(self, node: Any) -> Any:
        """The inverse of `encode`, in exact builtin types. Raises for other nodes."""
        if type(node) is list:
            return [self.decode(item) for item in node]
        if type(node) is not dict:
            return node
        ((kind, content),) = node.items()
        if kind == "dict":
            return {self.decode(key): self.decode(item) for key, item in content}
        if kind == "function":
            return lambda *args, **kwargs: self.call(int(content), args, kwargs)
        if node == OPAQUE:
            return object()
        if kind in _FROM_TEXT:
            return _FROM_TEXT[kind](content)
        return _FROM_ITEMS[kind]([self.decode(item) for item in content])


_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "int": lambda text: int(text, 16),
    "bytes": bytes.fromhex,
    "decimal": Decimal,
}
_FROM_ITEMS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
    "range": lambda parts: range(*parts),
    "fraction": lambda parts: Fraction(*parts),
    "complex": lambda parts: complex(*parts),
}


def _encoded_number(value: Any) -> Any:
    """The value of a number of any library; numpy's and sympy's types are registered."""
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if abs(whole) < _EXACT_IN_JSON else {"int": hex(whole)}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, numbers.Rational):
        return {"fraction": [_encoded_number(int(value.numerator)), int(value.denominator)]}
    if isinstance(value, numbers.Real):
        return float(value)
    return {"complex": [complex(value).real, complex(value).imag]}


def _all_of(iterator: Iterator[Any]) -> list[Any]:
    items = list(islice(iterator, LONGEST_ITERATOR + 1))
    if len(items) > LONGEST_ITERATOR:
        raise TypeError(f"an iterator of more than {LONGEST_ITERATOR} items")
    return items


def _rebuilt(name: str, message: str) -> Exception:
    kind = _EXCEPTIONS.get(name)
    try:
        return kind(message) if kind else SolutionFailed(f"{name}: {message}")
    except TypeError:  # one that is not made from a message
        return SolutionFailed(f"{name}: {message}")


def _own_channel() -> int:
    """The descriptor of the channel; stdin is replaced by an empty file."""
    channel = os.dup(0)
    _empty_stdin()
    return channel


def _empty_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:  # it is 0 if the program closed that
        os.dup2(null, 0)
        os.close(null)


def _module(name: str, *sources: str) -> dict[str, Any]:
    """Run the sources one after the other in a new module; returns its names."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    for source in sources:
        exec(compile(source, f"<{name}>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


class OutOfTime(BaseException):
    """A call took longer than it may; no handler of the solution for an Exception stops it."""


def _timed(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """`function`, each call with at most so many seconds of CPU time; 0 for any number.

    A solution may switch its timer off. Then only the limit of its jail stops it.
    """

    def out_of_time(*_: object) -> None:
        raise OutOfTime

    def timed(*args: Any, **kwargs: Any) -> Any:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            return function(*args, **kwargs)
        except OutOfTime:
            raise TimeoutError(f"more than {seconds} s") from None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, out_of_time)
    return timed


def be_function(prelude: str, source: str, entry_point: str, seconds: float) -> None:
    """Run the solution, then answer calls of its function until the tests are over.

    A class `Solution` has the function as a method, as on LeetCode.
    """
    channel = _own_channel()
    names = _module("solution", prelude, source)
    owner = names["Solution"]() if "Solution" in names else types.SimpleNamespace(**names)
    Peer(channel, _timed(getattr(owner, entry_point), seconds)).serve()


def be_program(prelude: str, source: str, seconds: float) -> None:
    """Run the solution once for each text that the tests send, and answer what it printed."""
    channel = _own_channel()
    program = compile(source, "<solution>", "exec", dont_inherit=True)

    def answer(text: str) -> str:
        with _files_as_streams(text) as printed:
            with suppress(SystemExit):
                exec(program, _module("__main__", prelude))
            for thread in threading.enumerate():
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
            sys.stdout.flush()
            return printed()

    Peer(channel, _timed(answer, seconds)).serve()


@contextmanager
def _files_as_streams(text: str) -> Iterator[Callable[[], str]]:
    """stdin with a text and an empty stdout; yields the function that reads the latter back.

    Both are files in the scratch directory, so a program may use descriptors 0 and 1 too.
    """
    old, stdout = (sys.stdin, sys.stdout), os.dup(1)
    with open("stdin", "w+b") as given, open("stdout", "w+b") as printed:
        given.write(text.encode())
        given.seek(0)
        os.dup2(given.fileno(), 0)
        os.dup2(printed.fileno(), 1)

        def read_back() -> str:
            printed.seek(0)
            return printed.read().decode(errors="replace")

        try:
            with open(0, closefd=False) as sys.stdin, open(1, "w", closefd=False) as sys.stdout:
                yield read_back
        finally:
            _empty_stdin()
            os.dup2(stdout, 1)
            os.close(stdout)
            sys.stdin, sys.stdout = old


def be_tests(prompt: str, tests: str, entry_point: str) -> None:
    """Run the tests on the other process's function; raises what they raise.

    The tests see what the task's prompt defines, and nothing of the solution.
    """
    peer = Peer(_own_channel())
    try:
        compile(prompt, "<prompt>", "exec")
    except SyntaxError:  # it ends within a statement
        prompt = ""

    def candidate(*args: Any, **kwargs: Any) -> Any:
        return peer.call(0, args, kwargs)

    names = _module("tests", prompt)
    names[entry_point] = candidate
    exec(compile(tests, "<tests>", "exec", dont_inherit=True), names)


def be_cases(cases: str, is_program: bool) -> None:
    """Compare the other process's answers with LiveCodeBench's; raises at the first wrong one.

    `cases` is a JSON array of [input, output]. Of a program, the lines of the output are compared;
    of a function, the input has one argument in JSON a line, and the output is JSON.
    """
    peer = Peer(_own_channel())
    for number, (given, expected) in enumerate(json.loads(cases), start=1):
        if is_program:
            found = peer.call(0, (given,), {})
            right = isinstance(found, str) and _same_lines(found, expected)
        else:
            found = peer.call(0, tuple(map(json.loads, given.split("\n"))), {})
            found = list(found) if isinstance(found, tuple) else found
            right = bool(found == json.loads(expected))
        if not right:
            raise AssertionError(f"test {number}: {str(found)[:80]!r} and not {expected[:80]!r}")


def _same_lines(found: str, expected: str) -> bool:
    """Equal but for space around lines; numbers are equal by value."""
    lines, wanted = (
        [line.strip() for line in text.strip().split("\n")] for text in (found, expected)
    )
    return len(lines) == len(wanted) and all(map(_same_line, lines, wanted))


def _same_line(found: str, expected: str) -> bool:
    if found.strip() == expected.strip():
        return True
    try:
        return [*map(Decimal, found.split())] == [*map(Decimal, expected.split())]
    except ArithmeticError:
        return False
