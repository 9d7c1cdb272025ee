"""Where problems come from, as settings: the arguments of `load_problems`."""

from __future__ import annotations

from pydantic import Field

from tirgen.settings import Settings


class ProblemSettings(Settings):
    """Where the problems come from."""

    path: str = "pocket:test"
    """A JSONL, JSON, CSV, TSV or Parquet file (text files also as .gz or .zst), a Hugging Face
    datasets folder, ``pocket:train`` or ``pocket:test``."""
    skip: int = Field(0, ge=0)
    """Number of problems to skip at the start."""
    limit: int | None = Field(None, ge=1)
    """Most problems to take after the skipped ones; by default all."""
    split: str | None = None
    """Split of a Hugging Face datasets folder."""
    question_field: str | None = None
    """Field with the question, if the file has no known layout."""
    answer_field: str | None = None
    """Field with the gold answer, if the file has no known layout."""
    id_field: str | None = None
    """Field with the publisher's id, if the file has no known layout."""
    difficulty_field: str | None = None
    """Field with the publisher's difficulty, if the file has no known layout."""
    skip_bad_rows: bool = False
    """Skip any number of bad rows; by default at most 5 % of the rows can be bad."""
