"""A policy is exchanged in the real pocket server; where a server must misbehave, a proxy does."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.embedded.tiny_model import write_tiny_model
from tests.engine.conftest import Peer
from tests.served_weights import served_version
from tirgen.embedded.local import embedded_server
from tirgen.engine import publication
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import EngineError, EngineMisconfigured, PublicationFailed
from tirgen.engine.protocol import Completion, Prompt, Sampling
from tirgen.engine.publication import publish
from tirgen.jobs.engines import open_engine

Fault = Callable[[], web.Response | None]
PROMPT = Prompt(messages=(), token_ids=tuple(range(10, 110)))
"""Three whole blocks of the key-value cache, so that a second request finds them there."""
DRAW = Sampling(max_tokens=24, seed=5)
LONG = {"prompt": "1", "max_tokens": 400, "ignore_eos": True, "return_weight_versions": True}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two policies with one tokenizer."""
    root = tmp_path_factory.mktemp("versions")
    return {name: write_tiny_model(root / name, seed) for seed, name in enumerate(("v1", "v2"))}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(versions: dict[str, Path]) -> AsyncIterator[str]:
    async with embedded_server(versions["v1"], model="pocket") as url:
        yield url


@pytest.fixture
async def base_url(server: str, versions: dict[str, Path]) -> str:
    """Of the one server, which serves v1 when a test begins."""
    await publish(served_by(server, versions), versions["v1"], "v1")
    return server


def served_by(url: str, versions: dict[str, Path], **fields: object) -> EngineConfig:
    tokenizer = str(versions["v1"])
    return EngineConfig(
        kind="tokens", base_urls=[url], model="pocket", tokenizer=tokenizer, **fields
    )


async def draw(config: EngineConfig) -> Completion:
    """The same prompt and seed each time."""
    async with open_engine(config) as engine:
        return await engine.complete(PROMPT, DRAW)


def said(completion: Completion) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return completion.token_ids, completion.logprobs


async def get(url: str, path: str) -> dict[str, object]:
    async with aiohttp.ClientSession() as http, http.get(url.removesuffix("/v1") + path) as answer:
        body: dict[str, object] = await answer.json()
        return body


async def until_paused(url: str) -> None:
    for _ in range(2000):
        if (await get(url, "/is_paused"))["is_paused"]:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the server was never paused")


async def test_a_published_policy_is_the_one_a_fresh_server_would_serve(
    versions: dict[str, Path], base_url: str
) -> None:
    """Its prompt was cached by the old policy: any of that reused would show in the logprobs."""
    config = served_by(base_url, versions)
    before = said(await draw(config))
    assert said(await draw(config)) == before
    await publish(config, versions["v2"], "pi@v2")
    async with embedded_server(versions["v2"], model="pocket") as fresh:
        expected = said(await draw(served_by(fresh, versions)))
    assert said(await draw(config)) == expected
    assert before != expected
    assert await served_version(config) == "pi@v2"


async def test_going_back_and_forth_leaves_no_trace(
    versions: dict[str, Path], base_url: str
) -> None:
    config = served_by(base_url, versions)
    first = said(await draw(config))
    for name in ("v2", "v1", "v2", "v1"):
        await publish(config, versions[name], name)
    assert said(await draw(config)) == first


async def test_what_runs_ends_on_the_old_weights_and_what_arrives_gets_the_new(
    versions: dict[str, Path], base_url: str, proxy: Proxy
) -> None:
    proxy.held["/collective_rpc"] = asyncio.Event()
    config = served_by(proxy.url, versions)
    async with aiohttp.ClientSession() as http:
        url = base_url + "/completions"
        async with http.post(url, json=LONG | {"stream": True, "n": 8}) as running:
            opening = await running.content.readline()
            publishing = asyncio.create_task(publish(config, versions["v2"], "v2"))
            await until_paused(base_url)
            arriving = asyncio.create_task(http.post(url, json=LONG))
            rest = opening + await running.read()
        assert not arriving.done()
        proxy.held["/collective_rpc"].set()
        await publishing
        async with await arriving as answer:
            arrived = (await answer.json())["choices"][0]
    last = json.loads(rest.split(b"data: ")[-2])["choices"][0]
    assert last["finish_reason"] == "length"
    assert last["weight_versions"] == [{"version": "v1", "start": 0, "end": 400}]
    assert arrived["weight_versions"] == [{"version": "v2", "start": 0, "end": 400}]


def spoil_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def another_tokenizer(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: spoil_config(folder, model_type="llama"), "k_norm.*should be missing"),
        (lambda folder: spoil_config(folder, vocab_size=500), "vocab_size 500.*512"),
        (lambda folder: spoil_config(folder, num_hidden_layers=1), r"layers\.1.*missing"),
        (another_tokenizer, "tokenizer of .* is not that of the served model"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no \*\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "cannot be read"),
        (shutil.rmtree, r"holds no config\.json"),
    ],
)
async def test_a_folder_that_is_refused_leaves_the_old_policy_at_work(
    versions: dict[str, Path], base_url: str, tmp_path: Path, spoil: Any, reason: str
) -> None:
    config = served_by(base_url, versions)
    before = said(await draw(config))
    spoil(Path(shutil.copytree(versions["v2"], tmp_path / "spoilt")))
    with pytest.raises(PublicationFailed, match=rf"(?s){reason}.*continues with its old policy"):
        await publish(config, tmp_path / "spoilt", "v2")
    assert said(await draw(config)) == before
    assert await served_version(config) == "v1"


async def test_giving_up_while_it_waits_lets_the_server_go_on(
    versions: dict[str, Path], base_url: str
) -> None:
    config = served_by(base_url, versions)
    async with aiohttp.ClientSession() as http:
        fields = LONG | {"stream": True, "n": 64}
        async with http.post(base_url + "/completions", json=fields) as running:
            await running.content.readline()
            publishing = asyncio.create_task(publish(config, versions["v2"], "v2"))
            await until_paused(base_url)
            publishing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await publishing
            assert not (await get(base_url, "/is_paused"))["is_paused"]
    assert await served_version(config) == "v1"


async def test_a_server_without_the_routes_is_told_what_to_start_it_with(
    peer: Peer, versions: dict[str, Path]
) -> None:
    config = EngineConfig(kind="tokens", base_urls=[peer.url], model="tiny")
    with pytest.raises(EngineMisconfigured, match="VLLM_SERVER_DEV_MODE=1"):
        await publish(config, versions["v2"], "v2")


@pytest.mark.parametrize("kind", ["embedded", "chat"])
async def test_what_has_no_server_of_ours_takes_no_policy(
    versions: dict[str, Path], kind: str
) -> None:
    fields = {} if kind == "embedded" else {"base_urls": ["http://localhost:1/v1"], "model": "m"}
    with pytest.raises(EngineMisconfigured, match="no server that takes a policy"):
        await publish(EngineConfig(kind=kind, **fields), versions["v2"], "v2")


async def test_the_key_of_the_configuration_opens_the_routes(
    versions: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIRGEN_SERVE_API_KEY", "secret")
    command = (
        "-m",
        "tirgen.embedded.server",
        str(versions["v1"]),
        "--model",
        "pocket",
        "--port",
        "0",
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().strip()
    try:
        with pytest.raises(EngineMisconfigured, match="key"):
            await publish(served_by(url, versions), versions["v2"], "v2")
        config = served_by(url, versions, api_key_env="TIRGEN_SERVE_API_KEY")
        await publish(config, versions["v2"], "v2")
        assert await served_version(config) == "v2"
    finally:
        server.terminate()
        await server.communicate()


class Proxy:
    """Passes everything on to the real server, but for the paths it has faults for."""

    def __init__(self, target: str) -> None:
        self.target = target.removesuffix("/v1")
        self.url = ""
        self.faults: dict[str, Fault] = {}
        self.held: dict[str, asyncio.Event] = {}
        """Paths that are passed on only once the event is set."""
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        fault = self.faults.get(request.path)
        if fault is not None and (answer := fault()) is not None:
            return answer
        if request.path in self.held:
            await self.held[request.path].wait()
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                request.method,
                self.target + request.path_qs,
                data=await request.read(),
                headers={"Content-Type": request.content_type},
            ) as passed_on,
        ):
            return web.Response(status=passed_on.status, body=await passed_on.read())


@pytest.fixture
async def proxy(base_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(base_url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    async with TestServer(app) as server:
        proxy.url = str(server.make_url("/v1"))
        yield proxy


def a_few_times(count: int, answer: Callable[[], web.Response]) -> Fault:
    """The fault that goes away."""
    left = iter(range(count))
    return lambda: answer() if next(left, None) is not None else None


def refuses_to_forget() -> web.Response:
    return web.json_response({"success": False})


def breaks() -> web.Response:
    return web.json_response({"error": {"message": "out of memory"}}, status=500)


async def test_a_prefix_cache_that_is_held_is_asked_again(
    versions: dict[str, Path], proxy: Proxy
) -> None:
    proxy.faults["/reset_prefix_cache"] = a_few_times(3, refuses_to_forget)
    await publish(served_by(proxy.url, versions), versions["v2"], "v2")
    assert proxy.asked.count("/reset_prefix_cache") == 4
    assert await served_version(served_by(proxy.url, versions)) == "v2"


async def test_the_order_is_pause_reload_reset_label_resume(
    versions: dict[str, Path], proxy: Proxy
) -> None:
    await publish(served_by(proxy.url, versions), versions["v2"], "v2")
    changes = [path for path in proxy.asked if path != "/weight_info"]
    assert changes == [
        "/pause",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/update_weight_version",
        "/resume",
    ]


async def left_paused(versions: dict[str, Path], proxy: Proxy, reason: str) -> None:
    config = served_by(proxy.url, versions)
    with pytest.raises(PublicationFailed, match=rf"(?s){reason}.*stays paused.*curl -X POST"):
        await publish(config, versions["v2"], "v2")
    assert (await get(proxy.target, "/is_paused"))["is_paused"]
    proxy.faults.clear()
    await publish(config, versions["v2"], "v2")  # as the message says
    assert not (await get(proxy.target, "/is_paused"))["is_paused"]
    assert await served_version(config) == "v2"


async def test_a_prefix_cache_that_stays_keeps_the_server_paused(
    versions: dict[str, Path], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "RESETS", 2)
    proxy.faults["/reset_prefix_cache"] = refuses_to_forget
    await left_paused(versions, proxy, "prefix cache could not be reset")


async def test_a_label_that_does_not_stick_keeps_the_server_paused(
    versions: dict[str, Path], proxy: Proxy
) -> None:
    """As behind a load balancer, where the next request meets another server."""
    proxy.faults["/update_weight_version"] = lambda: web.json_response({"success": True})
    await left_paused(versions, proxy, "Its weights were named 'v2', but it reports 'unlabelled'")


async def test_a_reload_that_breaks_halfway_keeps_the_server_paused(
    versions: dict[str, Path], proxy: Proxy
) -> None:
    proxy.faults["/collective_rpc"] = breaks
    await left_paused(versions, proxy, "out of memory")


async def test_a_server_that_does_not_resume_is_told_how(
    versions: dict[str, Path], proxy: Proxy
) -> None:
    proxy.faults["/resume"] = breaks
    await left_paused(versions, proxy, "")


async def test_a_server_that_stumbles_in_passing_is_asked_again(
    versions: dict[str, Path], proxy: Proxy
) -> None:
    for path in ("/pause", "/collective_rpc", "/update_weight_version", "/resume"):
        proxy.faults[path] = a_few_times(1, breaks)
    await publish(served_by(proxy.url, versions), versions["v2"], "v2")
    assert await served_version(served_by(proxy.url, versions)) == "v2"


async def test_every_replica_gets_the_policy(versions: dict[str, Path]) -> None:
    """A replica that takes it keeps it, whatever becomes of another, and both are named."""
    async with (
        embedded_server(versions["v1"], model="pocket") as one,
        embedded_server(versions["v1"], model="pocket") as other,
    ):
        config = served_by(one, versions).model_copy(update={"base_urls": (one, other)})
        await publish(config, versions["v2"], "v2")
        for url in (one, other):
            assert await served_version(served_by(url, versions)) == "v2"
        gone = config.model_copy(update={"base_urls": (one, "http://127.0.0.1:1/v1")})
        with pytest.raises(EngineError, match=r"127\.0\.0\.1:1"):
            await publish(gone, versions["v1"], "v1 again")
        assert await served_version(served_by(one, versions)) == "v1 again"
