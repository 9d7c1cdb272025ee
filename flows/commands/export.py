"""``tirgen dataset export``: write a version in the formats of other tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from flows.commands.options import DEFAULT_STORE, Json, StorePath, read_store
from flows.terminal.console import print_json, say
from flows.terminal.progress import CountDisplay
from storage.exports.common import Texts
from storage.exports.folder import card, in_split, write_folder
from storage.exports.formats import SPECS, ExportFormat
from storage.exports.write import FileColumns, write_lines, write_rows
from storage.find import matching_ids
from storage.records import Trajectory
from storage.versions import DatasetVersion
from tirgen.engine.protocol import Message
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.settings import ConfigError
from tirgen.tir.markup import response_text
from tirgen.tir.prompts import STANDARD, PromptSet

SHOWN_EVERY = 1_000
"""Rows between two updates of the progress display."""


def export_command(
    name: str,
    out: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    format: Annotated[ExportFormat, Parameter(name="--format")] = ExportFormat.TOOLS,
    where: str | None = None,
    all_rows: Annotated[bool, Parameter(name="--all", negative="")] = False,
    columns: str | None = None,
    split: str | None = None,
    validation: float = 0.0,
    shard_size: int | None = None,
    license: str | None = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Export a version for other trainers, graders and tools.

    Examples of use:

        tirgen dataset export demo sft.jsonl

        tirgen dataset export demo data/ --validation 0.05 --license mit

        tirgen dataset export demo - --format pairs --where "difficulty = '3'"

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    out
        A file ending in .jsonl, .jsonl.gz, .parquet or .csv; a folder for a Hugging Face dataset
        with a card; - or a pipe for JSON Lines.
    format
        Shape of a row; docs/exports.md says what each keeps.
    where
        Only trajectories that meet this SQL condition over the columns of `trajectories`.
    all_rows
        Include rows that a filter dropped, in formats that leave them out.
    columns
        Only these columns, separated by commas.
    split
        Only the problems of this split, train or validation, as --validation divides them.
    validation
        Share of problems, 0 to 1, in the validation split.
    shard_size
        Rows in a file; further rows go into numbered files beside it.
    license
        Licence to name on the card of a folder.
    """
    opened = read_store(store)
    version = opened.version(name)
    spec = SPECS[format]
    shape = FileColumns(spec.schema, tuple(columns.split(",")) if columns else ())
    ids = matching_ids(opened, str(version), where) if where else None
    read = chosen(version, ids, kept_only=spec.kept_only and not all_rows)
    texts = texts_of(version)
    path = Path(out)
    if out.endswith("/") or path.is_dir() or not (path.suffix or path.exists() or out == "-"):
        written = write_folder(path, read, spec.rows, texts, shape, validation)
        (path / "README.md").write_text(card(version, format, written, license))
        files = {file: rows for each in written.values() for file, rows in each.items()}
    else:
        rows = spec.rows(in_split(read(), split, validation) if split else read(), texts)
        if out == "-" or (path.exists() and not path.is_file()):
            with nullcontext(sys.stdout) if out == "-" else path.open("w") as stream:
                say(f"{write_lines(rows, stream, shape)} rows of {version}")
            return
        files = write_rows(rows, path, shape, shard_size)
    total = sum(files.values())
    if json:
        listed = [{"path": str(file), "rows": count} for file, count in files.items()]
        print_json({"rows": total, "files": listed, "version": str(version), "format": format})
    say(f"{total} rows of {version} in {out}")


def chosen(
    version: DatasetVersion, ids: set[str] | None, *, kept_only: bool
) -> Callable[[], Iterator[Trajectory]]:
    """A function that reads the trajectories to export and shows its progress."""

    def read() -> Iterator[Trajectory]:
        total = int(version.manifest["rows"])
        with CountDisplay("export") as progress:
            for number, row in enumerate(version.read(), 1):
                if (row.kept or not kept_only) and (ids is None or row.trajectory_id in ids):
                    yield row
                if number % SHOWN_EVERY == 0:
                    progress.count(number, total)

    return read


def texts_of(version: DatasetVersion) -> Texts:
    """How the TIR format writes the version's problems and steps."""
    prompts = prompt_set(version)
    return Texts(
        tool_prompt=lambda problem: _text(prompts.for_tir(problem.question)),
        plain_prompt=lambda problem: _text(prompts.for_cot(problem.question)),
        response=response_text,
    )


def prompt_set(version: DatasetVersion) -> PromptSet:
    """The prompts of its trajectories; the standard ones for imported trajectories.

    Raises `ConfigError` for a version whose settings this version of tirgen cannot read.
    """
    config = version.manifest["config"]
    if "actor" not in config:
        return STANDARD
    try:
        return GenerateConfig.model_validate(config).prompt_set
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise ConfigError(
            f"{version} was made by another version of tirgen, whose settings this one cannot read "
            f"({wrong}), so the prompts of its trajectories are unknown; make it again, or export "
            "it with the version that made it"
        ) from error


def _text(messages: tuple[Message, ...]) -> str:
    """One text: the formats have a single user message, before which a system message is put."""
    return "\n\n".join(message.content for message in messages)
