"""The method page: what it names exists, and what the code cites stands on it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "method.md").read_text()
PRODUCT = ("benchmarks", "flows", "storage", "tests", "tirgen", "trainer")
TEST = re.compile(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`")
NUMBER = r"[EACD]\d{1,2}"  # equation, reading, check, defect
CITATION = re.compile(rf"[Mm]ethod {NUMBER}(?:(?:, | and ){NUMBER}\b)*")


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def named_tests() -> Iterator[tuple[str, str]]:
    """(file, function) of every test on the page; a name without a file is in the file before."""
    file = ""
    for match in TEST.finditer(PAGE):
        file = match[1] or file
        if match[1] or match[2]:
            yield file, match[2] or ""


def sources() -> Iterator[tuple[Path, str]]:
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = list(named_tests())
    assert len(named) > 40
    missing = [
        (file, name)
        for file, name in named
        if not (ROOT / file).is_file() or (name and name not in functions(file))
    ]
    assert missing == []


def test_every_citation_of_the_method_is_defined_on_the_page() -> None:
    defined = set(re.findall(rf"^\| ({NUMBER}) \|", PAGE, re.MULTILINE))
    cited = {
        (str(path), number)
        for path, text in sources()
        for citation in CITATION.findall(text)
        for number in re.findall(NUMBER, citation)
    }
    assert len(cited) > 60
    assert [where for where in sorted(cited) if where[1] not in defined] == []


def test_nothing_cites_a_document_that_readers_do_not_have() -> None:
    """The specification and the design are the authors' notes, not part of the repository."""
    foreign = re.compile(r"\b(?:[Ss]pec|design) (?:\u00a7|[AD]\d)")
    assert [str(path) for path, text in sources() if foreign.search(text)] == []
