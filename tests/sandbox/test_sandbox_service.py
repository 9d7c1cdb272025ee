import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tirgen.sandbox.service import serving

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
    async with serving("127.0.0.1", 0, TOKEN, slots=2) as address:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(address, headers=headers) as client:
            yield client


async def post(client: aiohttp.ClientSession, body: object, path: str = "/run_code"):
    async with client.post(path, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.parametrize("body", [VERL, THOR], ids=["verl", "thor"])
async def test_the_requests_of_others_are_understood(client, body):
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
async def test_each_outcome_has_its_words(client, code, status, run_status, return_code, outcome):
    answer = await post(client, {"code": code, "run_timeout": 0.3})
    result = answer["run_result"]
    assert (answer["status"], result["status"]) == (status, run_status)
    assert (result["return_code"], answer["tirgen"]["outcome"]) == (return_code, outcome)


async def test_a_batch_is_answered_in_order(client):
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
async def test_what_cannot_be_honoured_is_refused_by_name(client, body, reason):
    async with client.post("/run_code", json=body) as answer:
        assert answer.status == 400
        assert reason in await answer.text()


async def test_without_the_token_nothing_runs(client):
    async with client.post("/run_code", json=THOR, headers={"Authorization": "Bearer x"}) as answer:
        assert answer.status == 401


async def test_health_runs_a_snippet_and_names_the_mode(client):
    async with client.get("/health") as answer:
        assert (await answer.json())["mode"].startswith("zygote/1 ")


async def test_metrics_count_by_outcome(client):
    await post(client, THOR)
    async with client.get("/metrics") as answer:
        text = await answer.text()
    lines = [line for line in text.splitlines() if 'outcome="ok"' in line]
    assert int(lines[0].split()[-1]) >= 1


async def test_a_client_that_goes_away_frees_its_slot(client):
    endless = {"code": "while True: pass", "run_timeout": 60}
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await post(client, endless)
    started = time.monotonic()
    await post(client, THOR)
    assert time.monotonic() - started < 10


async def test_an_open_address_needs_a_token():
    with pytest.raises(ValueError, match="reachable from outside"):
        async with serving("0.0.0.0", 0):
            pass
