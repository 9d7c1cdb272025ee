"""Runs on the real server and real workers: by the form and by the API."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import pytest

from flows.service.markdown import table
from storage.datasets import Store
from tests.flows.service.browser import Browser, chromium
from tests.flows.service.stack import Stack, wait_until
from tests.ports import free_port

pytestmark = pytest.mark.slow

OUTPUT = Path(__file__).parents[3] / "test-output"
"""Where screenshots are left; git ignores it."""


def test_a_value_out_of_bounds_is_refused_before_a_run_exists(stack: Stack) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.start("generate", {"shard_problems": 20})
    with refused.value as answer:
        assert answer.code == 409
        assert "less than the minimum of 50" in answer.read().decode()


def test_bringing_up_twice_starts_nothing_twice(stack: Stack) -> None:
    before = stack.tirgen("status")
    deployment = stack.deployment("generate")
    [schedule] = deployment["schedules"]
    assert not schedule["active"]
    path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
    stack.ask(path, {"active": True}, "PATCH")
    assert stack.tirgen("up")["found_server"]
    assert stack.tirgen("status") == before
    [again] = stack.deployment("generate")["schedules"]
    assert again["active"], "what a person switched on stays on"
    path = f"/deployments/{deployment['id']}/schedules/{again['id']}"
    stack.ask(path, {"active": False}, "PATCH")
    automations = stack.ask("/automations/filter", {})
    assert len({found["name"] for found in automations}) == len(automations) >= 2


def test_a_store_has_one_service(stack: Stack) -> None:
    other = Stack(stack.store, free_port())
    with pytest.raises(AssertionError, match=f"already runs at {stack.url}"):
        other.tirgen("up")


def test_a_run_started_by_the_form_shows_what_it_made(stack: Stack) -> None:
    with chromium() as browser:
        fill_in_and_submit(browser, stack)
        wait_until(lambda: runs_named(stack, "generate by-form"), 60, stack.tails)
        [run] = runs_named(stack, "generate by-form")
        assert stack.finish(run["id"], 300)["state_type"] == "COMPLETED", stack.tails()
        look_at_run(browser, stack, run["id"])
    version = Store(stack.store).version("by-form")
    config = version.manifest["config"]
    assert (config["problems"]["limit"], config["attempts"], config["cot_samples"]) == (60, 1, 0)
    assert {f["id"] for f in runs_named(stack, "generate by-form")} == {run["id"]}


def fill_in_and_submit(browser: Browser, stack: Stack) -> None:
    browser.enter(stack.tirgen("up")["link"])
    browser.open(f"{stack.url}/deployments/deployment/{stack.deployment('generate')['id']}/run")
    browser.wait_for("A file or folder of problems on the worker's machine.")
    assert "Problems in progress at once" not in browser.text()
    browser.screenshot(OUTPUT / "run-form.png")
    browser.fill("dataset", "by-form")
    browser.fill("limit", "60")
    browser.click("GenerateConfigForm")
    browser.wait_for("Problems in progress at once")
    browser.screenshot(OUTPUT / "run-form-unfolded.png")
    browser.fill("Attempts", "1", kind="int")
    browser.fill("Cot Samples", "0", kind="int")
    browser.click("Submit")


def look_at_run(browser: Browser, stack: Stack, run_id: str) -> None:
    browser.open(f"{stack.url}/runs/flow-run/{run_id}")
    browser.wait_for("Completed")
    browser.click("Artifacts")
    browser.wait_for("by-form-summary")
    browser.screenshot(OUTPUT / "run-artifacts.png")
    chosen = {"artifacts": {"key": {"any_": ["by-form-summary"]}}}
    [summary] = stack.ask("/artifacts/filter", chosen)
    browser.open(f"{stack.url}/artifacts/artifact/{summary['id']}")
    browser.wait_for("Yield by filter")
    browser.screenshot(OUTPUT / "summary.png")
    drawn = browser.run(
        "const chart = [...document.images].find(i => i.src.startsWith('data:image/svg'));"
        "chart?.scrollIntoView(); return chart?.naturalWidth"
    )
    assert drawn, "the chart in the summary is not drawn"
    browser.screenshot(OUTPUT / "summary-chart.png")
    link = "return [...document.links].find(a => a.href.includes('/trajectories/t'))?.href"
    address = browser.run(link)
    assert address, "no link to a trajectory"
    browser.open(address)
    browser.wait_for("verifier")
    browser.screenshot(OUTPUT / "trajectory.png")


def runs_named(stack: Stack, name: str) -> list[dict[str, Any]]:
    return [run for run in stack.ask("/flow_runs/filter", {}) if run["name"] == name]


def test_a_cell_shows_its_text_and_the_page_loads_nothing_for_it(stack: Stack) -> None:
    texts = [r"\|v\|", r"\|![b](http://127.0.0.1:1/x.png)", "`a` | b", r"a\\|b <b>x</b> &amp; `"]
    page = {"type": "markdown", "key": "cells", "data": table([{"t": t, "n": 1} for t in texts])}
    made = stack.ask("/artifacts/", page)
    with chromium() as browser:
        browser.enter(stack.tirgen("up")["link"])
        browser.open(f"{stack.url}/artifacts/artifact/{made['id']}")
        rows = browser.wait_until(
            "(found => found.length && found)([...document.querySelectorAll('table tbody tr')]"
            ".map(row => [...row.cells].map(cell => cell.textContent.trim())))"
        )
        images = browser.run("return [...document.images].map(image => image.src)")
    assert rows == [[text, "1"] for text in texts]
    assert not [source for source in images if source.startswith("http://127.0.0.1:1/")]
