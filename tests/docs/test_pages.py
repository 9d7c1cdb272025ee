"""The written pages: every link and anchor resolves, every `tirgen` command on them parses."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError

from flows.tree import tree

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
TYPED = [page for page in PAGES if page.name != "cli.md"]
"""Pages with commands to type; cli.md is generated, with usage lines such as `tirgen COMMAND`."""
FOLDERS = "benchmarks|deploy|docs|examples|flows|storage|tests|tirgen|trainer"
FENCED = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]+`", lambda code: code[0].replace("](", ""), FENCED.sub("", text))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return frozenset(text.replace(" ", "-") for text in words)


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(without_code(page.read_text("utf-8"))):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_resolves(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One head\n[a](#one-head) [b](#two) [c](none.md) `[d](code)`\n")
    assert list(broken_links(page)) == ["#two", "none.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every `tirgen` command in the shell blocks of a page."""
    for _, language, body in FENCED.findall(text):
        if language in ("sh", "console"):
            yield from filter(None, map(arguments, statements(body, language)))


def statements(body: str, language: str) -> Iterator[str]:
    """What is typed, each statement whole: quotes and backslashes join lines."""
    lines = iter(body.splitlines())
    for line in lines:
        if language == "console" and not line.startswith("$ "):
            continue
        statement = line.removeprefix("$ ")
        while is_open(statement):
            statement += "\n" + next(lines)
        yield statement.replace("\\\n", " ")


def is_open(statement: str) -> bool:
    try:
        shlex.split(statement, comments=True)
    except ValueError:
        return True
    return statement.endswith("\\")


def arguments(statement: str) -> list[str]:
    lexer = shlex.shlex(statement, posix=True, punctuation_chars="|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in ("|", ";"):
            break
        words.append(word)
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words.pop(0)
    return words[1:] if words and words[0].rsplit("/", 1)[-1] == "tirgen" else []


@pytest.fixture(scope="module")
def command_line() -> App:
    return tree()


@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.name)
def test_every_command_of_a_page_parses(page: Path, command_line: App) -> None:
    for words in commands(page.read_text("utf-8")):
        command_line.parse_args(words, exit_on_error=False, print_error=False)


def test_commands_are_found_and_mistakes_are_seen(command_line: App) -> None:
    found = [words for page in TYPED for words in commands(page.read_text("utf-8"))]
    assert len(found) > 30
    page = "```console\n$ tirgen sql 'select\n1' | head\n1\n$ tirgen traj shwo x\n```\n"
    good, bad = commands(page)
    assert good == ["sql", "select\n1"]
    with pytest.raises(CycloptsError):
        command_line.parse_args(bad, exit_on_error=False, print_error=False)
