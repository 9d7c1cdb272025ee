"""Writes the reference pages from the code itself: ``python -m flows.reference DOCS``.

The command line from the commands, the configuration from its models; a test holds that what is
committed is what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.cli import app
from tirgen.config import GenerateConfig


def pages() -> dict[str, str]:
    """Page name to its whole text."""
    return {"cli.md": _cli(), "configuration.md": _configuration()}


def _cli() -> str:
    arguments, sys.argv = sys.argv, ["tirgen"]  # cyclopts puts the program's own into its usage
    try:
        text = app.generate_docs(output_format="markdown", recursive=True, include_hidden=False)
    finally:
        sys.argv = arguments
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(lines).strip() + "\n"


def _configuration() -> str:
    head = (
        "# Configuration of a generation\n\n"
        "Settings of `tirgen generate --config FILE` (TOML or JSON), of `--set NAME=VALUE`, and "
        "of `tirgen.config.GenerateConfig`. `--dry-run` prints the resolved form; every run keeps "
        "it beside its output.\n\n"
        "| setting | default | meaning |\n|---|---|---|\n"
    )
    return head + "\n".join(_rows(GenerateConfig, "")) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        nested = _model_of(field)
        if nested is not None:
            yield from _rows(nested, f"{prefix}{name}.")
        else:
            meaning = " ".join((field.description or "").split())
            yield f"| `{prefix}{name}` | {_default(field)} | {meaning} |"


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    if get_origin(field.annotation) is dict:
        return None
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Enum):
        value = value.value
    return "required" if value is PydanticUndefined else f"`{value!r}`"


def main(folder: Path) -> None:
    """Write every page into the folder."""
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
