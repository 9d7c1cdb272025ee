from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tirgen.sandbox.local import LocalSandbox
from tirgen.sandbox.messages import CAPS, MAX_WAITING, ExactLimits, RunCode
from tirgen.sandbox.service import serving
from tirgen.settings import ConfigError

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "t0ken"
VERL = {
    "compile_timeout": 10,
    "run_timeout": 5,
    "code": "print(6 * 7)",
    "stdin": "",
    "memory_limit_MB": 1024,
    "language": "python",
    "files": {},
    "fetch_files": [],
}
THOR = {"code": "print(6 * 7)", "language": "python", "run_timeout": 30, "compile_timeout": 30}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(LocalSandbox(slots=2), token=TOKEN) as address:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(address, headers=headers) as client:
            yield client


async def post(client: aiohttp.ClientSession, body: object, path: str = "/run_code") -> Any:
    async with client.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.parametrize("body", [VERL, THOR], ids=["verl", "thor"])
async def test_the_requests_of_others_are_understood(
    client: aiohttp.ClientSession, body: Any
) -> None:
    answer = await post(client, body)
    assert answer["status"] == "Success"
    assert answer["run_result"]["status"] == "Finished"
    assert answer["run_result"]["return_code"] == 0
    assert answer["run_result"]["stdout"] == "42\n"


@pytest.mark.parametrize(
    ("code", "status", "run_status", "return_code", "outcome"),
    [
        ("x = 1", "Success", "Finished", 0, "no_output"),
        ("1 / 0", "Failed", "Finished", 1, "error"),
        ("while True: pass", "Failed", "TimeLimitExceeded", None, "timeout"),
        ("bytearray(1 << 40)", "Failed", "Finished", 1, "oom"),
    ],
)
async def test_each_outcome_has_its_words(
    client: aiohttp.ClientSession,
    code: str,
    status: str,
    run_status: str,
    return_code: int | None,
    outcome: str,
) -> None:
    answer = await post(client, {"code": code, "run_timeout": 0.3})
    result = answer["run_result"]
    assert (answer["status"], result["status"]) == (status, run_status)
    assert (result["return_code"], answer["tirgen"]["outcome"]) == (return_code, outcome)


async def test_a_batch_is_answered_in_order(client: aiohttp.ClientSession) -> None:
    items = [{"code": f"print({n})"} for n in range(10)]
    answers = await post(client, {"items": items}, "/run_batch")
    assert [a["run_result"]["stdout"] for a in answers] == [f"{n}\n" for n in range(10)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"code": "int main() {}", "language": "cpp"}, "language 'cpp' is not supported"),
        ({"code": "input()", "stdin": "1"}, "stdin is not supported"),
        ({"code": "1", "files": {"a": "b"}}, "files is not supported"),
        ({"code": "1", "run_timeout": 0}, "run_timeout must be above 0"),
        ({"language": "python"}, "code: Field required"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    client: aiohttp.ClientSession, body: dict[str, Any], reason: str
) -> None:
    async with client.post("/run_code", json=body) as answer:
        assert answer.status == 400
        assert reason in await answer.text()


async def test_without_the_token_nothing_runs(client: aiohttp.ClientSession) -> None:
    for token in ("x", "\udcff", "é", ""):
        headers = {"Authorization": f"Bearer {token}"}
        async with client.post("/run_code", json=THOR, headers=headers) as answer:
            assert answer.status == 401


async def test_health_runs_a_snippet_and_names_the_mode(client: aiohttp.ClientSession) -> None:
    async with client.get("/health") as answer:
        assert (await answer.json())["mode"].startswith("zygote/1 ")


async def test_metrics_count_by_outcome(client: aiohttp.ClientSession) -> None:
    await post(client, THOR)
    async with client.get("/metrics") as answer:
        text = await answer.text()
    lines = [line for line in text.splitlines() if 'outcome="ok"' in line]
    assert int(lines[0].split()[-1]) >= 1


async def test_a_client_that_goes_away_frees_its_slot(client: aiohttp.ClientSession) -> None:
    seconds = 60
    endless = {"code": "while True: pass", "run_timeout": seconds}
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await post(client, endless)
    async with asyncio.timeout(seconds / 2):
        await post(client, THOR)


async def test_an_open_address_needs_a_token() -> None:
    with pytest.raises(ConfigError, match="reachable from other machines"):
        async with serving(LocalSandbox(), "0.0.0.0"):
            pass


async def open_session(client: aiohttp.ClientSession, **wish: object) -> str:
    async with client.post("/sessions", json=wish) as answer:
        if answer.status == 501:
            pytest.skip("no sessions in this mode")
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["session"])


async def cell(client: aiohttp.ClientSession, session: str, code: str) -> str:
    answer = await post(client, {"code": code, "run_timeout": 5}, f"/sessions/{session}/run")
    return str(answer["run_result"]["stdout"])


async def test_a_session_keeps_its_variables_over_http(client: aiohttp.ClientSession) -> None:
    session = await open_session(client)
    await cell(client, session, "x = 41")
    assert await cell(client, session, "x + 1") == "42\n"
    async with client.delete(f"/sessions/{session}") as answer:
        assert answer.status == 200
    async with client.post(f"/sessions/{session}/run", json={"code": "x"}) as answer:
        assert answer.status == 404
        assert "no session" in await answer.text()


async def test_a_session_branches_any_number_of_ways_over_http(
    client: aiohttp.ClientSession,
) -> None:
    session = await open_session(client, echo=False)
    await cell(client, session, "x = 1")
    async with client.post(f"/sessions/{session}/branch", json={"count": 3}) as answer:
        branches = (await answer.json())["sessions"]
    for number, branch in enumerate(branches):
        await cell(client, branch, f"x += {number}")
    ends = [await cell(client, name, "print(x)") for name in (session, *branches)]
    assert ends == ["1\n", "1\n", "2\n", "3\n"]
    for name in (session, *branches):
        await client.delete(f"/sessions/{name}")


async def test_too_many_sessions_are_refused(client: aiohttp.ClientSession) -> None:
    session = await open_session(client)
    for _ in range(3):
        await client.post(f"/sessions/{session}/branch", json={"count": 64})
    async with client.post(f"/sessions/{session}/branch", json={"count": 64}) as answer:
        assert answer.status == 503
        assert "256 at most" in await answer.text()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sessions", {"memory_mb": 1 << 30}),
        ("/sessions", {"cpu_budget": -1}),
        ("/sessions/x/branch", {"count": 0}),
        ("/sessions/x/run", {"run_timeout": 1}),
        ("/run_code", {"code": "1", "limits": {"cpu_seconds": -1}}),
        ("/run_code", {"code": "1", "limits": {"cpu": 1}}),
        ("/run_batch", {"items": [{"code": "1"}] * (MAX_WAITING + 1)}),
        ("/run_code", {"code": "1", "run_timeout": float("nan")}),
    ],
)
async def test_senseless_wishes_are_refused(
    client: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> None:
    async with client.post(path, json=body) as answer:
        assert answer.status == 400


async def test_idle_sessions_expire() -> None:
    async with (
        serving(LocalSandbox(), idle_seconds=1) as address,
        aiohttp.ClientSession(address) as client,
    ):
        session = await open_session(client)
        busy = asyncio.create_task(cell(client, session, "import time; time.sleep(2); 7"))
        await asyncio.sleep(1.6)
        assert await busy == "7\n"  # one at work is not idle
        await asyncio.sleep(2)
        async with client.post(f"/sessions/{session}/run", json={"code": "1"}) as answer:
            assert answer.status == 404
        async with client.get("/metrics") as answer:
            assert "tirgen_sandbox_sessions_expired_total 1\n" in await answer.text()


async def test_what_is_asked_above_the_caps_is_cut(client: aiohttp.ClientSession) -> None:
    asked = {"cpu_seconds": 999, "wall_seconds": 999, "memory_mb": 1 << 20, "output_bytes": 1 << 30}
    await post(client, {"code": "print(1)", "limits": asked})
    limits = RunCode(code="1", limits=ExactLimits(**asked)).capped_limits()
    assert limits == CAPS
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    answer = await post(client, {"code": code, "run_timeout": 1e9})
    assert int(answer["run_result"]["stdout"]) <= CAPS.cpu_seconds + 1


async def test_metrics_speak_of_queue_sessions_and_zygotes(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as answer:
        text = await answer.text()
    for name in ("waiting", "pending", "sessions", "zygote_restarts_total"):
        assert f"\ntirgen_sandbox_{name} " in text
