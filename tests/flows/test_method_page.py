"""The page that says which test holds what names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`")


def test_every_test_the_method_page_names_is_there() -> None:
    named, file = 0, ""
    for match in NAMED.finditer((ROOT / "docs" / "method.md").read_text()):
        file = match[1] or file
        if match[1] or match[2]:
            named += 1
            assert f"def {match[2] or ''}" in (ROOT / file).read_text(), match[0]
    assert named > 40
