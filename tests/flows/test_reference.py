from pathlib import Path

from flows.reference import pages

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_pages_are_what_the_code_says():
    """When this fails: make docs."""
    for name, text in pages().items():
        assert (DOCS / name).read_text("utf-8") == text, name
