"""The pages that a run's links lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import encode_basic_auth
from aiohttp.test_utils import TestClient, TestServer
from rows import row

from flows.service.pages import application
from storage.datasets import Store

LOGIN = "tirgen:secret"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.open_run("d", {}, "c0ffee").publish([row()], {})
    return made


async def ask(
    store: Store, path: str, login: str | None = None, **headers: str
) -> tuple[int, str, str]:
    async with (
        TestClient(TestServer(application(store, login))) as client,
        client.get(path, headers=headers) as answer,
    ):
        policy = answer.headers.get("Content-Security-Policy", "")
        return answer.status, await answer.text(), policy


async def test_a_trajectory_is_a_page_that_loads_nothing(store):
    status, page, policy = await ask(store, f"/trajectories/{row().trajectory_id}")
    assert status == 200
    assert row().trajectory_id in page
    assert policy.startswith("default-src 'none'")


async def test_an_unknown_trajectory_is_not_found_with_a_way_on(store):
    status, page, _ = await ask(store, "/trajectories/nothing")
    assert status == 404
    assert "tirgen traj list" in page


async def test_a_name_that_a_stranger_points_here_is_refused(store):
    path = f"/trajectories/{row().trajectory_id}"
    status, _, _ = await ask(store, path, Host="evil.example:4201")
    assert status == 403


async def test_with_a_password_set_the_pages_ask_for_it(store):
    path = f"/trajectories/{row().trajectory_id}"
    assert (await ask(store, path, LOGIN))[0] == 401
    wrong, right = (encode_basic_auth("tirgen", word) for word in ("guess", "secret"))
    assert (await ask(store, path, LOGIN, Authorization=wrong))[0] == 401
    assert (await ask(store, path, LOGIN, Authorization=right))[0] == 200
    assert (await ask(store, "/health", LOGIN))[:2] == (200, "true")
