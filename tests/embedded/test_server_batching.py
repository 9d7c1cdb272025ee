import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

LONG = {"prompt": "1", "max_tokens": 480, "ignore_eos": True}
SHORT = {"prompt": "2", "max_tokens": 3, "ignore_eos": True}


async def complete(http: aiohttp.ClientSession, base_url: str, **fields: Any) -> dict[str, Any]:
    async with http.post(base_url + "/completions", json=fields) as answer:
        assert answer.status == 200, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def metric(http: aiohttp.ClientSession, base_url: str, name: str) -> float:
    """The sum over the samples whose line contains the name."""
    async with http.get(base_url.removesuffix("/v1") + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if name in line and line[0] != "#")


async def becomes(
    http: aiohttp.ClientSession, base_url: str, name: str, wanted: Callable[[float], bool]
) -> bool:
    """Whether the metric is as wanted within ten seconds or so."""
    for _ in range(1000):
        if wanted(await metric(http, base_url, name)):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_short_request_never_waits_for_a_long_one(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    order: list[str] = []

    async def run(name: str, fields: dict[str, Any]) -> None:
        await complete(http, tiny_server, **fields)
        order.append(name)

    async with http.post(
        tiny_server + "/completions", json=LONG | {"n": 8, "stream": True}
    ) as long:
        await long.content.readline()  # it is being generated
        shorts = [asyncio.create_task(run(f"short {i}", SHORT)) for i in range(5)]
        rest = asyncio.create_task(long.read())
        rest.add_done_callback(lambda _: order.append("long"))
        await asyncio.gather(rest, *shorts)
    assert order[-1] == "long"


async def test_a_seed_gives_the_same_alone_and_among_32(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    def fields(i: int) -> dict[str, Any]:
        prompt = [10 + i] * (1 + 7 * i % 40)
        options = {"logprobs": 0, "return_token_ids": True, "ignore_eos": True}
        return {"prompt": prompt, "max_tokens": 10 + i, "seed": i // 2, **options}

    def sampled(answer: dict[str, Any]) -> tuple[list[int], list[float]]:
        choice = answer["choices"][0]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"]

    together = await asyncio.gather(*(complete(http, tiny_server, **fields(i)) for i in range(32)))
    for i in (0, 7, 20, 31):
        alone = await complete(http, tiny_server, **fields(i))
        assert sampled(alone) == sampled(together[i])


async def test_a_choice_does_not_depend_on_how_many_were_asked_for(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    one, four = [
        await complete(http, tiny_server, prompt="7", seed=5, n=n, return_token_ids=True)
        for n in (1, 4)
    ]
    assert one["choices"][0]["token_ids"] == four["choices"][0]["token_ids"]


async def test_neighbouring_seeds_share_no_choice(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    seen = set()
    for seed in (5, 6, 7):
        answer = await complete(http, tiny_server, prompt="7", seed=seed, n=4, ignore_eos=True)
        seen |= {choice["text"] for choice in answer["choices"]}
    assert len(seen) == 12


async def test_seeds_beyond_32_bits_count_in_full(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    texts = {
        (await complete(http, tiny_server, prompt="7", seed=s, ignore_eos=True))["choices"][0][
            "text"
        ]
        for s in (1, 1 + 2**32, -1, 2**63 - 1, -(2**63))
    }
    assert len(texts) == 5


async def test_a_client_that_hangs_up_frees_its_slots(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    before = await metric(http, tiny_server, 'finished_reason="abort"')
    answer = await http.post(tiny_server + "/completions", json=LONG | {"n": 64, "stream": True})
    await answer.content.readline()
    assert await metric(http, tiny_server, "num_requests_running") > 0
    answer.close()
    assert await becomes(http, tiny_server, "num_requests_running", lambda running: running == 0)
    assert await metric(http, tiny_server, 'finished_reason="abort"') > before


async def test_hanging_up_also_ends_what_is_not_streamed(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    before = await metric(http, tiny_server, 'finished_reason="abort"')
    call = asyncio.create_task(complete(http, tiny_server, **LONG, n=64))
    assert await becomes(http, tiny_server, "num_requests_running", lambda running: running > 0)
    call.cancel()
    aborted = 'finished_reason="abort"'
    assert await becomes(http, tiny_server, aborted, lambda count: count > before)


async def test_more_requests_than_slots_all_come_back(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    answers = await asyncio.gather(
        *(complete(http, tiny_server, **SHORT | {"prompt": [10 + i]}) for i in range(300))
    )
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [3] * 300


async def test_prompts_longer_than_one_batch_are_generated_from(
    tiny_server: str, http: aiohttp.ClientSession
) -> None:
    """Twelve prompts of 400 tokens exceed the tokens of one step: they are taken in by parts."""
    prompts = [[10 + i, *range(20, 419)] for i in range(12)]
    options = {"max_tokens": 5, "temperature": 0, "return_token_ids": True, "ignore_eos": True}
    together = await complete(http, tiny_server, prompt=prompts, **options)
    alone = await complete(http, tiny_server, prompt=prompts[11], **options)
    assert together["choices"][11]["token_ids"] == alone["choices"][0]["token_ids"]
