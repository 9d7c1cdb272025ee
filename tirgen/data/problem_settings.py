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
    """Leave out the first so many, which another run had."""
    limit: int | None = Field(None, ge=1)
    """Only so many, the first after those skipped."""
    split: str | None = None
    """Split of a Hugging Face datasets folder."""
    question_field: str | None = None
    """Field with the question, where the layout is not one of the published ones."""
    answer_field: str | None = None
    """Field with the gold answer, likewise."""
    id_field: str | None = None
    """Field with the publisher's id, likewise."""
    difficulty_field: str | None = None
    """Field with the publisher's difficulty, likewise."""
    skip_bad_rows: bool = False
    """Go on without bad rows however many there are; by default up to one in twenty."""
