"""The site of the pages: it builds strictly, asks no other machine, and finds words without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.service.browser import chromium

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FETCHED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=[\"']?([^\"' >]+)")
STYLED = re.compile(r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']+)")

pytest.importorskip("mkdocs", reason="pip install 'tirgen[docs]'")


def build(folder: Path, *, config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*command, "--site-dir", str(folder)], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder, config=ROOT / "mkdocs.yml")
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    """Strict: a page outside the navigation and a link or anchor to nothing are errors."""
    assert {page.stem for page in DOCS.glob("*.md")} | {"index", "404"} == {
        page.stem for page in site.glob("*.html")
    }


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = {link for page in site.glob("*.html") for link in FETCHED.findall(page.read_text())}
    assert len(fetched) > 10
    away = {link for link in fetched if link.startswith(("http", "//"))}
    styled = {url for sheet in site.rglob("*.css") for url in STYLED.findall(sheet.read_text())}
    assert away | styled == set()


def test_the_search_has_the_words_of_every_page(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text("utf-8").removeprefix("var __index = ")
    found = {entry["location"].partition("#")[0] for entry in json.loads(index)["docs"]}
    assert found >= {f"{page.stem}.html" for page in DOCS.glob("*.md")}


def test_a_search_works_in_a_page_that_was_opened_as_a_file(site: Path) -> None:
    with chromium() as browser:
        browser.look_as(width=1300, height=900, dark=False)
        browser.open((site / "tutorial.html").as_uri())
        browser.wait_until("document.querySelector('.md-search__input')")
        browser.run(
            "const field = document.querySelector('.md-search__input'); field.focus();"
            "field.value = 'decontaminate'; field.dispatchEvent(new Event('keyup'))"
        )
        browser.wait_until("document.querySelector('.md-search-result__link')", seconds=60)
        links = "[...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
        assert any("curation.html" in link for link in browser.run(f"return {links}"))


@pytest.mark.parametrize(
    ("page", "text"),
    [("sql.md", "[a](none.md)"), ("sql.md", "[a](cli.md#none)"), ("unnamed.md", "# Unnamed")],
)
def test_a_mistake_is_an_error(tmp_path: Path, page: str, text: str) -> None:
    for name in ("mkdocs.yml", "README.md", "docs", "flows"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").unlink()
    (tmp_path / "docs").mkdir()
    for entry in DOCS.iterdir():
        (tmp_path / "docs" / entry.name).symlink_to(entry)
    (tmp_path / "docs" / page).unlink(missing_ok=True)
    (tmp_path / "docs" / page).write_text(f"{text}\n", "utf-8")
    done = build(tmp_path / "site", config=tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    assert page in done.stderr
