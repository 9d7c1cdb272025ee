from __future__ import annotations

import json
import re
from pathlib import Path

from flows.reference import pages
from flows.training.improve import ImproveConfig
from tirgen.jobs.curate import CurateConfig
from tirgen.jobs.import_config import ImportConfig

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = re.compile(r".{0,40}(?:\bspec\b|§|\([AD]\d+)")


def test_the_reference_pages_are_what_the_code_says() -> None:
    """When this fails: make docs."""
    for name, text in pages().items():
        assert (DOCS / name).read_text("utf-8") == text, name


def test_help_cites_nothing_that_users_do_not_have() -> None:
    """Sections and numbered defects of the specification are for readers of the code."""
    forms = ImproveConfig, CurateConfig, ImportConfig
    texts = [
        *pages().values(),
        *(json.dumps(form.model_json_schema(), ensure_ascii=False) for form in forms),
    ]
    assert not [m for text in texts for m in REFERENCE.findall(text)]
