"""Where problems come from, as settings: the arguments of `load_problems`."""

from __future__ import annotations

from pydantic import Field

from tirgen.settings import Settings


class ProblemSettings(Settings):
    """Where the problems come from."""

    path: str = "pocket:test"
    """A JSONL, JSON, CSV, TSV or Parquet file (text also as .gz or .zst), a Hugging Face datasets
    folder, or ``pocket:test``."""
    skip: int = Field(0, ge=0)
    """Leave out this many problems at the start."""
    limit: int | None = Field(None, ge=1)
    """Most problems to take after those skipped. Default: all."""
    split: str | None = None
    """Split of a Hugging Face datasets folder."""
    question_field: str | None = None
    """Field with the question, for files that have no published layout."""
    answer_field: str | None = None
    """Field with the gold answer, for files that have no published layout."""
    id_field: str | None = None
    """Field with the publisher's id, for files that have no published layout."""
    difficulty_field: str | None = None
    """Field with the publisher's difficulty, for files that have no published layout."""
    skip_bad_rows: bool = False
    """Go on without bad rows, however many there are. Default: stop when more than one row in
    twenty is bad."""
