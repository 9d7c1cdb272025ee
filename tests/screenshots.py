"""``python -m tests.screenshots FOLDER [STORE]``: pictures of every page, to be looked at.

Each page is taken light and dark, and as wide as a phone. Without a store, the demo is run first.
Needs Chromium: ``apt-get install -y chromium chromium-driver``.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.live.work import every_work
from storage.datasets import Store
from storage.policies import Policies
from storage.sql import query
from tests.flows.service.browser import Browser, chromium

TIRGEN = [sys.executable, "-m", "flows"]
LOOKS = {"light": (1100, False), "dark": (1100, True), "phone": (390, False)}
"""Width in pixels, and whether the reader prefers dark pages."""
HEIGHT = 900


def tirgen(*words: str, store: Store) -> None:
    subprocess.run([*TIRGEN, *words, "--store", str(store.root)], check=True, stdout=sys.stderr)


def write_pages(store: Store, folder: Path) -> list[Path]:
    """Every kind of page that a command writes."""
    pages = []

    def add(name: str, *words: str) -> None:
        pages.append(folder / f"{name}.html")
        option = "--output" if words[0] == "report" else "--html"
        tirgen(*words, option, str(pages[-1]), store=store)

    for name, row in chosen(store).items():
        add(name, "traj", "show", row["trajectory_id"])
    for row in query(store, _TWO).to_pylist():
        add("compare", "traj", "diff", row["one"], row["other"])
        attempts = folder / "attempts"
        attempts.mkdir(exist_ok=True)
        tirgen("traj", "show", row["one"], "--html", str(attempts), store=store)
        pages += [attempts / "index.html", attempts / f"{row['one']}.html"]
    add("report-dataset", "report", str(store.datasets()[0]))
    for version in Policies(store.root).all()[-1:]:
        add("report-policy", "report", str(version))
    for work in every_work(store)[:1]:
        add("report-run", "report", work.name)
    return pages


_TWO = """SELECT min(trajectory_id) AS one, max(trajectory_id) AS other FROM trajectories
WHERE program = 'tirgen' AND n_calls > 0 GROUP BY dataset, problem_id, run_id
HAVING count(*) > 1 AND bool_or(correct) AND NOT bool_and(correct) ORDER BY problem_id LIMIT 1"""
_KINDS = {
    "right": "kept AND n_calls > 1",
    "failed": "n_failed_calls > 0",
    "mathematics": "contains(question, '$') OR contains(final_answer, 'frac')",
}


def chosen(store: Store) -> dict[str, Any]:
    """A trajectory of each kind, where there is one."""
    found = {}
    for name, condition in _KINDS.items():
        sql = f"SELECT trajectory_id FROM trajectories WHERE {condition} ORDER BY 1 LIMIT 1"
        for row in query(store, sql).to_pylist():
            found[name] = row
    return found


@contextmanager
def viewer(store: Store) -> Iterator[dict[str, Any]]:
    """Inspect's viewer over the newest version, as `tirgen view` tells of it."""
    command = [*TIRGEN, "view", str(store.datasets()[0]), "--store", str(store.root), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)


def look_at_viewer(browser: Browser, store: Store, out: Path) -> None:
    with viewer(store) as told:
        browser.look_as(width=1400, height=HEIGHT, dark=False)
        browser.open(told["link"])
        browser.wait_for(str(store.datasets()[0]))
        browser.screenshot(out / "view-logs.png")
        names = browser.run(
            "const asked = new XMLHttpRequest(); asked.open('GET', '/api/logs', false);"
            "asked.send(); return JSON.parse(asked.responseText).files.map(file => file.name)"
        )
        log = next(name for name in names if name.endswith("-tirgen.eval")).rpartition("/")[2]
        browser.open(f"{told['url']}/#/tasks/{urllib.parse.quote(log)}/samples")
        browser.wait_for("accuracy of all rows".upper())
        browser.wait_for("finished")
        browser.screenshot(out / "view-samples.png")
        right = chosen(store)["right"]["trajectory_id"]
        sql = f"SELECT problem_id, attempt FROM trajectories WHERE trajectory_id = '{right}'"
        [row] = query(store, sql).to_pylist()
        sample = f"{urllib.parse.quote(row['problem_id'])}/{row['attempt'] + 1}"
        browser.open(f"{told['url']}/#/tasks/{log}/samples/sample/{sample}/messages")
        browser.wait_for("print")
        browser.screenshot(out / "view-sample.png")


def _value(browser: Browser, expression: str) -> Any:
    """By DevTools, because the pages' own policy lets WebDriver's script not run."""
    return browser.devtools("Runtime.evaluate", expression=expression)["result"]["value"]


def _name(page: Path, folder: Path) -> str:
    """Of the picture, from the page's place."""
    inside = page.relative_to(folder).with_suffix("")
    return "-".join(["attempt"] if len(inside.name) == 20 else inside.parts)


def main(out: Path, store: Store) -> None:
    if not store.datasets():
        tirgen("demo", store=store)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        look_at_viewer(browser, store, out)
        for page in write_pages(store, Path(folder)):
            for look, (width, dark) in LOOKS.items():
                browser.look_as(width=width, height=HEIGHT, dark=dark)
                browser.open(page.as_uri())
                browser.whole_page(out / f"{_name(page, Path(folder))}-{look}.png")
                found = _value(browser, "document.documentElement.scrollWidth")
                assert found <= width, f"{page.name} is {found} pixels wide, the window {width}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        place = sys.argv[2] if len(sys.argv) > 2 else temporary
        main(Path(sys.argv[1]), Store(Path(place)))
