"""The pages that a run's links lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from flows.service.home import pages_cookie
from flows.service.pages import application
from storage.datasets import Store
from tests.rows import row
from tirgen.sockets.rule import basic

LOGIN, PORT = "tirgen:secret", 4201
KNOWN = {"Authorization": basic(LOGIN)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.open_run("d", {}, "c0ffee").publish([row()], {})
    return made


async def ask(store: Store, path: str, headers: dict[str, str] = KNOWN) -> tuple[int, str, str]:
    async with (
        TestClient(TestServer(application(store, LOGIN, PORT))) as client,
        client.get(path, headers=headers) as answer,
    ):
        policy = answer.headers.get("Content-Security-Policy", "")
        return answer.status, await answer.text(), policy


async def test_a_trajectory_is_a_page_that_loads_nothing(store: Store) -> None:
    status, page, policy = await ask(store, f"/trajectories/{row().trajectory_id}")
    assert status == 200
    assert row().trajectory_id in page
    assert policy.startswith("default-src 'none'")


async def test_an_unknown_trajectory_is_not_found_with_a_way_on(store: Store) -> None:
    status, page, _ = await ask(store, "/trajectories/nothing")
    assert status == 404
    assert "tirgen traj list" in page


async def test_a_name_that_a_stranger_points_here_is_refused(store: Store) -> None:
    path = f"/trajectories/{row().trajectory_id}"
    status, _, _ = await ask(store, path, KNOWN | {"Host": "evil.example:4201"})
    assert status == 403


async def test_the_password_or_the_cookie_opens_the_pages(store: Store) -> None:
    path = f"/trajectories/{row().trajectory_id}"
    name, value = pages_cookie(LOGIN, PORT)
    for headers in ({}, {"Authorization": basic("tirgen:guess")}, {"Cookie": f"{name}=guess"}):
        assert (await ask(store, path, headers))[0] == 401
    for headers in (KNOWN, {"Cookie": f"a=b; {name}={value}"}):
        assert (await ask(store, path, headers))[0] == 200
    assert (await ask(store, "/health", {}))[:2] == (200, "true")


async def test_a_report_is_a_page_that_runs_no_script(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open_run("d", {}, "h").publish([row()], {})
    for name in ("d@v1", "d", "d-h"):
        status, page, policy = await ask(store, f"/reports/{name}")
        assert status == 200, page
        assert "<svg" in page
        assert "script-src" not in policy
    for name in ("nothing", "..", "d@v7", "%2e%2e%2fd"):
        assert (await ask(store, f"/reports/{name}"))[0] == 404, name
