"""Writes the reference pages from the code: ``python -m flows.reference DOCS``.

The command line comes from the commands, the configuration from its models, the columns of SQL from
its views; a test compares the committed pages with the output.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.tree import tree
from storage.datasets import Store
from storage.describe import Column, columns
from storage.macros import MACROS
from storage.view_meanings import VIEWS
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate_config import GenerateConfig


def pages() -> dict[str, str]:
    """Page name to its whole text."""
    return {"cli.md": _cli(), "configuration.md": _configuration(), "schema.md": _schema()}


def _cli() -> str:
    arguments, sys.argv = sys.argv, ["tirgen"]  # cyclopts puts the program's name into the usage
    try:
        text = tree().generate_docs(output_format="markdown", recursive=True, include_hidden=False)
    finally:
        sys.argv = arguments
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(lines).strip() + "\n"


def _configuration() -> str:
    from flows.training.settings import RoundsConfig
    from trainer.settings import SftConfig

    sections = (
        _section("a generation", "tirgen generate", GenerateConfig),
        _section("an evaluation", "tirgen eval", EvaluationConfig),
        _section("a fine-tuning", "tirgen policy sft", SftConfig),
        _section("rounds of RL", "tirgen policy rl", RoundsConfig),
    )
    head = (
        "# Configuration\n\n"
        "Settings of `--config FILE` (TOML or JSON) and of `--set NAME=VALUE`, by command. "
        "`tirgen improve` has all of them, in the tables `generate`, `evaluation`, `sft` and `rl`. "
        "`--dry-run` prints the resolved form of a generation or of the whole loop; every run "
        "keeps it with its output. The defaults here are the paper's; models that descend from the "
        "packaged one are trained with the values of `flows/training/pocket.toml`.\n"
    )
    return head + "".join(sections)


def _section(what: str, command: str, model: type[BaseModel]) -> str:
    rows = "\n".join(_rows(model, ""))
    return (
        f"\n## Configuration of {what}\n\n`{command}`, `{model.__module__}.{model.__name__}`\n\n"
        f"| setting | default | meaning |\n|---|---|---|\n{rows}\n"
    )


def _rows(model: type[BaseModel], prefix: str, given: BaseModel | None = None) -> Iterator[str]:
    """`given` is the default of the field that holds the model, if it has one."""
    for name, field in model.model_fields.items():
        default = getattr(given, name) if given else _default_of(field)
        nested = _model_of(field)
        if nested is not None:
            own = default if isinstance(default, BaseModel) else None
            yield from _rows(nested, f"{prefix}{name}.", own)
        else:
            meaning = " ".join((field.description or "").split())
            yield f"| `{prefix}{name}` | {_shown(default)} | {meaning} |"


def _default_of(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    if get_origin(field.annotation) is dict:
        return None
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _shown(default: Any) -> str:
    if isinstance(default, Enum):
        default = default.value
    return "required" if default is PydanticUndefined else f"`{default!r}`"


def _schema() -> str:
    with TemporaryDirectory() as folder:
        every = columns(Store(Path(folder)))
    by_view = {view: [column for column in every if column.view == view] for view in VIEWS}
    head = (
        "# Views and columns\n\nWhat `tirgen sql` reads, with DuckDB's types. "
        "`tirgen sql --schema` prints the same; [SQL](sql.md) has examples.\n"
    )
    views = (_view(view, by_view) for view in VIEWS)
    macros = "\n".join(f"| `{call}` | {what} |" for call, what in MACROS.items())
    tail = f"\n## Macros\n\n| `from` | gives |\n|---|---|\n{macros}\n"
    return head + "".join(views) + tail


def _view(view: str, by_view: dict[str, list[Column]]) -> str:
    """The columns of a view; of one that extends another view only those it adds."""
    own = by_view[view]
    base = _extended(view, by_view)
    lines = [f"\n## {view}\n", f"{VIEWS[view][0].upper()}{VIEWS[view][1:].removesuffix('?')}."]
    if base:
        shown = {column._replace(view=view) for column in by_view[base]}
        own = [column for column in own if column not in shown]
        more = ", and:" if own else "."
        lines.append(f"\nThe columns of [{base}](#{base}){more}")
    if own:
        lines.append("\n| column | type | meaning |\n|---|---|---|")
    for column in own:
        meaning = column.meaning.replace("|", "\\|").replace("<think>", "`<think>`")
        lines.append(f"| `{column.column}` | `{column.type}` | {meaning} |")
    return "\n".join(lines) + "\n"


def _extended(view: str, by_view: dict[str, list[Column]]) -> str | None:
    """The first view before this one with more than ten columns, all of which this one has."""
    own = set(by_view[view])
    for base, found in by_view.items():
        if base == view:
            return None
        if len(found) > 10 and {column._replace(view=view) for column in found} <= own:
            return base
    return None


def main(folder: Path) -> None:
    """Write every page into the folder."""
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
