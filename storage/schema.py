"""The Arrow schema of a trajectory and the conversion both ways, derived from the records.

A trajectory is one flat row: the fields of its problem, verdict, provenance, cost and token stream
are columns of their own, because flat columns aggregate forty times faster than nested ones. Steps,
attempts and filter verdicts stay nested lists. Deriving the schema from the dataclasses makes it
impossible to forget a field on disk. Conversion works by columns, a whole batch at a time.

Two things are changed: log-probabilities become single precision, and a lone surrogate in a text,
which no file can hold, becomes U+FFFD.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from itertools import accumulate, chain, pairwise
from types import NoneType
from typing import (
    Any,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import pyarrow as pa

from storage.errors import SchemaTooNew
from storage.records import SCHEMA_VERSION, Trajectory, Verdicts
from storage.well_formed import well_formed

_VERSION_KEY = b"tirgen.schema_version"
BATCH_ROWS, BATCH_BYTES = 1_000, 16 << 20
"""Largest number of rows, and approximate number of bytes, of one Arrow batch."""

_Array: TypeAlias = "pa.Array[Any]"
_TableOrBatch = TypeVar("_TableOrBatch", pa.Table, pa.RecordBatch)
R = TypeVar("R", Trajectory, Verdicts)

COLUMN_NAMES = {"answer": "gold_answer"}
"""Columns that are not named like their record field, because that name would be unclear."""


class _Codec(Protocol):
    """One column: its Arrow type, and the conversion of Python values to an array and back."""

    type: pa.DataType

    def encode(self, values: Sequence[Any]) -> _Array: ...

    def decode(self, array: _Array) -> list[Any]: ...


class _Scalar:
    """Numbers, flags and text."""

    def __init__(self, type: pa.DataType) -> None:
        self.type = type

    def encode(self, values: Sequence[Any]) -> _Array:
        try:
            return pa.array(values, self.type)
        except UnicodeEncodeError:
            return pa.array([value and well_formed(value) for value in values], self.type)

    def decode(self, array: _Array) -> list[Any]:
        return array.to_pylist()


class _Enum(_Scalar):
    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__(pa.string())
        self._members: dict[str | None, StrEnum | None] = {member.value: member for member in enum}
        self._members[None] = None

    def decode(self, array: _Array) -> list[Any]:
        return [self._members[value] for value in array.to_pylist()]


class _Tuple:
    """A tuple per row: one array of all items, and the offsets where each row begins."""

    def __init__(self, item: _Codec) -> None:
        self._item = item
        self.type: pa.DataType = pa.list_(item.type)

    def encode(self, values: Sequence[Sequence[Any]]) -> _Array:
        offsets = pa.array(accumulate(map(len, values), initial=0), pa.int32())
        items = self._item.encode(list(chain.from_iterable(values)))
        return pa.ListArray.from_arrays(offsets, items)

    def decode(self, array: Any) -> list[Any]:
        items = self._item.decode(array.flatten())
        lengths = array.value_lengths().to_pylist()
        return [tuple(items[i:j]) for i, j in pairwise(accumulate(lengths, initial=0))]


class _Struct:
    """A nested record."""

    def __init__(self, record: type) -> None:
        self._record = record
        self._columns = _columns(record)
        self._fields = [pa.field(column.name, column.codec.type) for column in self._columns]
        self.type: pa.DataType = pa.struct(self._fields)

    def encode(self, values: Sequence[Any]) -> _Array:
        arrays = [column.encode(values) for column in self._columns]
        return pa.StructArray.from_arrays(arrays, fields=self._fields)

    def decode(self, array: Any) -> list[Any]:
        return _build(self._record, self._columns, array.flatten())


class _Column(NamedTuple):
    """The Arrow column of one field of a record."""

    field: str
    name: str
    codec: _Codec
    nullable: bool

    def encode(self, records: Sequence[Any]) -> _Array:
        """The column's values; a record that is None has None in each of its columns."""
        return self.codec.encode([r if r is None else getattr(r, self.field) for r in records])


class _Part(NamedTuple):
    """A field of a row: one column, or one record whose fields are columns."""

    field: str
    record: type | None
    nullable: bool
    columns: list[_Column]


def _build(record: Callable[..., Any], columns: list[_Column], arrays: list[_Array]) -> list[Any]:
    fields = [column.field for column in columns]
    decoded = [c.codec.decode(array) for c, array in zip(columns, arrays, strict=True)]
    return [record(**dict(zip(fields, row, strict=True))) for row in zip(*decoded, strict=True)]


def _split_optional(hint: Any) -> tuple[Any, bool]:
    """`X | None` as (X, True), anything else as (itself, False)."""
    arguments = get_args(hint)
    if NoneType not in arguments:
        return hint, False
    return next(argument for argument in arguments if argument is not NoneType), True


_SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}
_STREAMS = {**_SCALARS, int: pa.int32(), float: pa.float32()}
"""Lists of numbers are token streams, the longest part of a row: 32 bits are enough."""


def _codec(hint: Any) -> _Codec:
    if get_origin(hint) is tuple:
        item, _ = _split_optional(get_args(hint)[0])
        return _Tuple(_Scalar(_STREAMS[item]) if item in _STREAMS else _Struct(item))
    if issubclass(hint, StrEnum):
        return _Enum(hint)
    return _Scalar(_SCALARS[hint])


def _columns(record: type) -> list[_Column]:
    columns = []
    for name, hint in get_type_hints(record).items():
        inner, nullable = _split_optional(hint)
        columns.append(_Column(name, COLUMN_NAMES.get(name, name), _codec(inner), nullable))
    return columns


def _parts(kind: type[Any]) -> list[_Part]:
    return _parts_of(cast(Hashable, kind))  # mypy: a class is hashable whatever its instances are


@cache
def _parts_of(kind: Any) -> list[_Part]:
    parts = []
    for name, hint in get_type_hints(kind).items():
        inner, nullable = _split_optional(hint)
        record = cast(type, inner) if dataclasses.is_dataclass(inner) else None
        columns = _columns(record) if record else [_Column(name, name, _codec(inner), nullable)]
        parts.append(_Part(name, record, nullable, columns))
    return parts


def schema_of(kind: type[Any]) -> pa.Schema:
    """The columns of a kind of row; the schema version travels in the metadata."""
    return _schema_of(cast(Hashable, kind))


@cache
def _schema_of(kind: Any) -> pa.Schema:
    fields = [
        pa.field(column.name, column.codec.type, nullable=column.nullable or part.nullable)
        for part in _parts(kind)
        for column in part.columns
    ]
    return pa.schema(fields, {_VERSION_KEY: str(SCHEMA_VERSION).encode()})


def trajectory_schema() -> pa.Schema:
    """One row per trajectory."""
    return schema_of(Trajectory)


def verdict_schema() -> pa.Schema:
    """The columns of a trajectory that a curation may change, and its id."""
    return schema_of(Verdicts)


def to_batch(records: Sequence[R], kind: type[R]) -> pa.RecordBatch:
    """Records as rows of `schema_of(kind)`, in their order."""
    arrays = []
    for part in _parts(kind):
        values = [getattr(record, part.field) for record in records]
        if part.record is None:
            arrays.append(part.columns[0].codec.encode(values))
        else:
            arrays.extend(column.encode(values) for column in part.columns)
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(kind))


def to_batches(trajectories: Iterable[Trajectory]) -> Iterator[pa.RecordBatch]:
    """The same in batches limited by rows and bytes.

    A column of a batch must stay below 2 GiB, because Arrow's offsets have 32 bits.
    """
    chunk: list[Trajectory] = []
    size = 0
    for trajectory in trajectories:
        chunk.append(trajectory)
        size += _size(trajectory)
        if len(chunk) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield to_batch(chunk, Trajectory)
            chunk, size = [], 0
    if chunk:
        yield to_batch(chunk, Trajectory)


def _size(trajectory: Trajectory) -> int:
    """The approximate size of a row in bytes: steps and token stream are the long parts."""
    steps = sum(
        len(step.thought)
        + sum(map(len, filter(None, (step.action, step.observation, step.draft))))
        + sum(len(one.thought) + len(one.action) + len(one.observation) for one in step.attempts)
        for step in trajectory.steps
    )
    return steps + 9 * len(trajectory.tokens.token_ids) + len(trajectory.problem.question)


def from_batch(batch: pa.RecordBatch, kind: type[R]) -> list[R]:
    """The rows of a batch as records; the inverse of `to_batch`."""
    fields = [part.field for part in _parts(kind)]
    decoded = [_decode(part, batch) for part in _parts(kind)]
    return [kind(**dict(zip(fields, row, strict=True))) for row in zip(*decoded, strict=True)]


def _decode(part: _Part, batch: pa.RecordBatch) -> list[Any]:
    arrays = [batch.column(column.name) for column in part.columns]
    if part.record is None:
        return part.columns[0].codec.decode(arrays[0])
    if not part.nullable:
        return _build(part.record, part.columns, arrays)
    # Every record has a required first field, so its null means that there is no record.
    present = arrays[0].is_valid()
    records = iter(_build(part.record, part.columns, [array.filter(present) for array in arrays]))
    return [next(records) if there else None for there in present.to_pylist()]


def with_later_columns(table: _TableOrBatch, schema: pa.Schema) -> _TableOrBatch:
    """Rows of an older schema version, with nulls in the columns added since."""
    for field in schema:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def check_version(schema: pa.Schema, where: str) -> None:
    """Refuse rows with a newer schema version.

    Raises:
        SchemaTooNew: the version in the schema's metadata is above `SCHEMA_VERSION`.
    """
    version = int((schema.metadata or {}).get(_VERSION_KEY, b"0"))
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{where} has schema version {version}, this tirgen reads up to {SCHEMA_VERSION}",
            "update tirgen: pip install --upgrade tirgen",
        )
