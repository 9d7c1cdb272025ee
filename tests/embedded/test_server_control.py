"""The routes by which weights are exchanged: who may use them, and what they refuse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer

from tests.embedded.tiny_model import write_tiny_model
from tirgen.embedded import control
from tirgen.embedded.architecture import ModelShape, ModelUnsupported
from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.embedded.control import PauseSwitch
from tirgen.embedded.graph import write_ir
from tirgen.embedded.json_api import ApiError
from tirgen.embedded.local import embedded_server
from tirgen.embedded.routes import Routes

LONG = {"prompt": "1", "max_tokens": 400, "ignore_eos": True}
SHORT = {"prompt": "2", "max_tokens": 3, "ignore_eos": True}
CONTROL = [
    ("POST", "/pause?mode=wait"),
    ("POST", "/resume"),
    ("GET", "/is_paused"),
    ("POST", "/collective_rpc"),
    ("POST", "/reset_prefix_cache"),
    ("POST", "/update_weight_version"),
    ("GET", "/weight_info"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny_model: Path) -> AsyncIterator[str]:
    """Without /v1; its own, because pausing disturbs others."""
    async with embedded_server(tiny_model) as base_url:
        yield base_url.removesuffix("/v1")


async def ask(
    http: aiohttp.ClientSession, url: str, body: dict[str, Any] | None = None, method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    async with http.request(method, url, json=body) as answer:
        return answer.status, await answer.json()


def reload(folder: Path) -> dict[str, Any]:
    return {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}


@pytest.mark.parametrize("mode", ["", "?mode=abort", "?mode=keep", "?mode=now"])
async def test_modes_of_pausing_it_does_not_have_are_refused(
    server: str, http: aiohttp.ClientSession, mode: str
) -> None:
    status, body = await ask(http, f"{server}/pause{mode}")
    assert status == 400
    assert "mode=wait" in body["error"]["message"]
    assert await ask(http, f"{server}/is_paused", method="GET") == (200, {"is_paused": False})


async def test_pause_and_resume_answer_as_vllm_does(
    server: str, http: aiohttp.ClientSession
) -> None:
    assert await ask(http, f"{server}/pause?mode=wait") == (200, {"status": "paused"})
    assert await ask(http, f"{server}/pause?mode=wait") == (200, {"status": "paused"})
    assert await ask(http, f"{server}/is_paused", method="GET") == (200, {"is_paused": True})
    assert await ask(http, f"{server}/resume") == (200, {"status": "resumed"})
    assert await ask(http, f"{server}/is_paused", method="GET") == (200, {"is_paused": False})


async def test_weights_are_not_exchanged_while_the_server_is_open(
    server: str, http: aiohttp.ClientSession, tiny_model: Path
) -> None:
    status, body = await ask(http, f"{server}/collective_rpc", reload(tiny_model))
    assert status == 409
    assert "POST /pause?mode=wait first" in body["error"]["message"]


async def test_a_reload_leaves_the_version_unnamed_until_it_is_told(
    server: str, http: aiohttp.ClientSession, tiny_model: Path
) -> None:
    await ask(http, f"{server}/pause?mode=wait")
    try:
        reloaded = await ask(http, f"{server}/collective_rpc", reload(tiny_model))
        assert reloaded == (200, {"results": [None]})
        unnamed = await ask(http, f"{server}/weight_info", method="GET")
        assert unnamed == (200, {"weight_version": "unlabelled"})
        named = await ask(http, f"{server}/update_weight_version", {"new_version": "pi@v7"})
        assert named == (200, {"success": True, "new_version": "pi@v7"})
    finally:
        await ask(http, f"{server}/resume")
    _, body = await ask(http, f"{server}/v1/completions", SHORT | {"return_weight_versions": True})
    assert body["choices"][0]["weight_versions"] == [{"version": "pi@v7", "start": 0, "end": 3}]
    _, body = await ask(http, f"{server}/v1/completions", SHORT)
    assert "weight_versions" not in body["choices"][0]


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("/collective_rpc", {"method": "shutdown", "kwargs": {}}, "method"),
        ("/collective_rpc", {"method": "reload_weights", "kwargs": {}}, "kwargs"),
        ("/update_weight_version", {}, "new_version"),
        ("/update_weight_version", {"new_version": ["v1"]}, "new_version"),
        ("/update_weight_version", {"weight_version": "v1"}, "new_version"),
    ],
)
async def test_a_body_it_does_not_understand_is_refused_by_name(
    server: str, http: aiohttp.ClientSession, path: str, body: dict[str, Any], names: str
) -> None:
    before = await ask(http, f"{server}/weight_info", method="GET")
    status, answer = await ask(http, server + path, body)
    assert (status, answer["error"]["param"]) == (400, names)
    assert await ask(http, f"{server}/weight_info", method="GET") == before


async def test_a_cache_in_use_is_not_reset_and_the_answer_says_so(
    server: str, http: aiohttp.ClientSession
) -> None:
    fields = LONG | {"stream": True, "n": 16}
    async with http.post(f"{server}/v1/completions", json=fields) as running:
        await running.content.readline()
        assert await ask(http, f"{server}/reset_prefix_cache") == (200, {"success": False})
        assert b"data: [DONE]" in await running.read()


async def test_a_reset_changes_nothing_but_the_cache(
    server: str, http: aiohttp.ClientSession
) -> None:
    fields = {"prompt": list(range(10, 110)), "seed": 3, "logprobs": 0, "return_token_ids": True}
    _, before = await ask(http, f"{server}/v1/completions", fields)
    assert await ask(http, f"{server}/reset_prefix_cache") == (200, {"success": True})
    _, after = await ask(http, f"{server}/v1/completions", fields)
    assert before["choices"] == after["choices"]
    assert await ask(http, f"{server}/is_paused", method="GET") == (200, {"is_paused": False})


async def test_a_reset_while_paused_leaves_it_paused(
    server: str, http: aiohttp.ClientSession
) -> None:
    await ask(http, f"{server}/pause?mode=wait")
    try:
        assert await ask(http, f"{server}/reset_prefix_cache") == (200, {"success": True})
        assert await ask(http, f"{server}/is_paused", method="GET") == (200, {"is_paused": True})
    finally:
        await ask(http, f"{server}/resume")


async def test_resuming_ends_a_pause_that_is_still_waiting(
    server: str, http: aiohttp.ClientSession
) -> None:
    fields = LONG | {"stream": True, "n": 32}
    async with http.post(f"{server}/v1/completions", json=fields) as running:
        await running.content.readline()
        pausing = asyncio.create_task(ask(http, f"{server}/pause?mode=wait"))
        for _ in range(2000):
            _, body = await ask(http, f"{server}/is_paused", method="GET")
            if body["is_paused"]:
                break
            await asyncio.sleep(0.005)
        await ask(http, f"{server}/resume")
        assert (await ask(http, f"{server}/v1/completions", SHORT))[0] == 200
    status, body = await pausing
    assert status == 409
    assert "resumed before it had paused" in body["error"]["message"]


async def test_many_clients_meet_either_policy_whole(
    server: str,
    http: aiohttp.ClientSession,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Weights go back and forth under load; each answer belongs to the version it names."""
    other = write_tiny_model(tmp_path_factory.mktemp("other"), seed=1)
    folders = {"old": tiny_model, "new": other}
    fields = {"prompt": list(range(10, 90)), "max_tokens": 16, "seed": 3, "ignore_eos": True}
    options = {"return_token_ids": True, "return_weight_versions": True}
    seen: dict[str, set[tuple[int, ...]]] = {"old": set(), "new": set()}
    done = asyncio.Event()

    async def put(label: str) -> None:
        await ask(http, f"{server}/pause?mode=wait")
        assert (await ask(http, f"{server}/collective_rpc", reload(folders[label])))[0] == 200
        await ask(http, f"{server}/update_weight_version", {"new_version": label})
        await ask(http, f"{server}/resume")

    async def client() -> None:
        while not done.is_set():
            status, body = await ask(http, f"{server}/v1/completions", fields | options)
            assert status == 200, body
            choice = body["choices"][0]
            seen[choice["weight_versions"][0]["version"]].add(tuple(choice["token_ids"]))

    await put("old")
    clients = [asyncio.create_task(client()) for _ in range(8)]
    for label in ("new", "old", "new", "old"):
        await asyncio.sleep(0.2)
        await put(label)
    done.set()
    await asyncio.gather(*clients)
    assert {label: len(answers) for label, answers in seen.items()} == {"old": 1, "new": 1}
    assert seen["old"] != seen["new"]


@pytest.mark.parametrize(("method", "path"), CONTROL)
async def test_a_page_in_a_browser_may_not_control_it(
    server: str, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    headers = {"Origin": "https://elsewhere.example"}
    async with http.request(method, server + path, headers=headers) as answer:
        assert answer.status == 403


@pytest.fixture
async def engine(tiny_model: Path) -> AsyncIterator[ContinuousBatchingEngine]:
    engine = ContinuousBatchingEngine(tiny_model)
    yield engine
    await asyncio.to_thread(engine.close)


@pytest.mark.parametrize(("method", "path"), CONTROL)
async def test_a_key_guards_the_routes(
    engine: ContinuousBatchingEngine, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    async def status(routes: Routes, key: str | None) -> int:
        async with TestServer(routes.application()) as served:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            async with http.request(method, served.make_url(path), headers=headers) as answer:
                return answer.status

    guarded = Routes(engine, model="pocket", api_key="secret")
    assert await status(guarded, None) == 401
    assert await status(guarded, "guess") == 401
    assert await status(guarded, "secret") in (200, 400)


async def test_a_request_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "HOLD_SECONDS", 0.01)
    switch = PauseSwitch()
    switch.pause()
    with pytest.raises(ApiError, match="POST /resume") as refusal:
        async with switch.running():
            pass
    assert refusal.value.status == 503


def test_weights_of_another_shape_are_named(tiny_model: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 100}))
    (tmp_path / "model.safetensors").symlink_to(tiny_model / "model.safetensors")
    with pytest.raises(ModelUnsupported, match=r"mlp\.down_proj.*\(64, 96\).*\(64, 100\)"):
        write_ir(tmp_path, ModelShape.read(tmp_path), tmp_path)
