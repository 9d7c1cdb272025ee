"""The configuration of an import."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from storage import files
from tirgen.data.response_layouts import SHAPES, ResponseFormat
from tirgen.filters.filter_config import FilterConfig
from tirgen.sandbox.program_settings import SandboxSettings
from tirgen.settings import JobSettings


class ImportConfig(JobSettings):
    """An import: a file in, a verified and filtered dataset version out."""

    path: Path
    format: ResponseFormat
    stateful: bool | None = None
    """Run all programs of a response in one interpreter; by default as the publisher did."""
    gold: tuple[str, ...] = ()
    """Problem files with the answers that the data lacks."""
    sandbox: SandboxSettings = SandboxSettings()
    filters: FilterConfig = FilterConfig()
    seed: int = Field(0, ge=0, lt=2**31)

    @property
    def in_sessions(self) -> bool:
        """Programs of a response share their variables."""
        return SHAPES[self.format].stateful if self.stateful is None else self.stateful

    def identity(self) -> list[Any]:
        """The file by its name and content, not by its folder."""
        document = self.model_dump(mode="json", exclude={"dataset", "path"})
        document["sandbox"] = self.sandbox.identity()
        return [document, self.path.name, self._content]

    @cached_property
    def _content(self) -> str:
        return files.sha256(self.path)
