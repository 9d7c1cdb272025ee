"""Calls between two jailed processes: plain data in, plain data out, through descriptor 0.

The text of this module is put before a solution and before its tests, which run in two jails. No
object of the solution ever exists in the process that judges it: an answer arrives as JSON and is
rebuilt from exact builtin types. Only the standard library is available there.

Not covered: changes that a call makes to its arguments, and answers of types without a plain form
(instances of the solution's classes, arrays).
"""

from __future__ import annotations

import builtins
import json
import numbers
import os
import sys
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

LONGEST_MESSAGE = 64 << 20
"""Bytes."""
LONGEST_ITERATOR = 100_000
"""Most items of an iterator; it is sent whole."""
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
        """`value` in a form that JSON can hold. Raises TypeError if it has no plain form."""
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
        return self.encode(_plain_scalar(value))

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


def _plain_scalar(value: Any) -> Any:
    """numpy's bool is not registered as a number."""
    if getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} objects have no plain form that tests could compare")


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
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return channel


def _module(name: str, *sources: str) -> dict[str, Any]:
    """Run the sources one after the other in a new module; returns its names."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    for source in sources:
        exec(compile(source, f"<{name}>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def be_solution(source: str, entry_point: str) -> None:
    """Run the solution, then answer calls of its function until the tests are over."""
    channel = _own_channel()
    Peer(channel, _module("solution", source)[entry_point]).serve()


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
