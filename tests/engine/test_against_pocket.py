"""The clients against the real embedded engine, with a random model: what it says is noise."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.embedded.tiny_model import CONTEXT, write_tiny_model
from tirgen.embedded.local import embedded_server
from tirgen.embedded.models import engine_identity
from tirgen.engine.chat import ChatEngine
from tirgen.engine.dialect import Continuation
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.errors import ContextOverflow, EngineMisconfigured
from tirgen.engine.protocol import Finish, Message, Prompt, Sampling
from tirgen.engine.tokens import TokenEngine
from tirgen.jobs.engines import open_engine, open_engines

MESSAGES = (Message("user", "How much is 2+2?"),)
DRAW = Sampling(max_tokens=24, seed=5)


@pytest.fixture(scope="module")
def pocket_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("pocket"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base_url(pocket_dir: Path) -> AsyncIterator[str]:
    async with embedded_server(pocket_dir, model="pocket") as url:
        yield url


@pytest.fixture
async def pocket(pocket_dir: Path, base_url: str) -> AsyncIterator[TokenEngine]:
    config = EngineConfig(
        kind="tokens", base_urls=[base_url], model="pocket", tokenizer=str(pocket_dir)
    )
    async with open_engine(config) as engine:
        assert isinstance(engine, TokenEngine)
        yield engine


def asked(engine: TokenEngine) -> Prompt:
    return Prompt(messages=MESSAGES, token_ids=engine.renderer.prompt_ids(MESSAGES))


async def test_the_probe_is_content(pocket: TokenEngine) -> None:
    assert pocket.capabilities.max_model_len == CONTEXT
    assert pocket.server.startswith("tirgen-embedded/")


async def test_a_seed_gives_the_same_tokens_alone_and_in_a_crowd(pocket: TokenEngine) -> None:
    alone = await pocket.complete(asked(pocket), DRAW)
    crowd = await asyncio.gather(*(pocket.complete(asked(pocket), DRAW) for _ in range(16)))
    assert {c.token_ids for c in crowd} == {alone.token_ids}
    for completion in crowd:  # a batch's size decides the order of sums, and so the last digits
        assert completion.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


async def test_another_seed_gives_other_tokens(pocket: TokenEngine) -> None:
    one = await pocket.complete(asked(pocket), DRAW)
    other = await pocket.complete(asked(pocket), Sampling(max_tokens=24, seed=6))
    assert one.token_ids != other.token_ids


async def test_a_stop_string_from_its_own_words_ends_it(pocket: TokenEngine) -> None:
    whole = await pocket.complete(asked(pocket), DRAW)
    stop = next(c for c in whole.text[4:] if c.isascii() and c.isalnum())
    sampling = Sampling(max_tokens=24, seed=5, stop=(stop,))
    stopped = await pocket.complete(asked(pocket), sampling)
    assert stopped.stop_reason == stop
    assert stop in stopped.text
    assert stopped.token_ids == whole.token_ids[: len(stopped.token_ids)]


async def test_growing_by_its_own_ids_goes_on_where_it_stopped(pocket: TokenEngine) -> None:
    whole = await pocket.complete(asked(pocket), Sampling(max_tokens=12, temperature=0))
    first = await pocket.complete(asked(pocket), Sampling(max_tokens=5, temperature=0))
    grown = Prompt(messages=MESSAGES, token_ids=asked(pocket).token_ids + first.token_ids)
    rest = await pocket.complete(grown, Sampling(max_tokens=7, temperature=0))
    assert first.token_ids + rest.token_ids == whole.token_ids


async def test_the_context_ends_both_kinds_of_call(pocket: TokenEngine) -> None:
    brim = Prompt(messages=(), token_ids=(40,) * (CONTEXT - 3))
    completion = await pocket.complete(brim, DRAW)
    assert completion.finish is Finish.LENGTH
    assert completion.completion_tokens == 3
    with pytest.raises(ContextOverflow):
        await pocket.complete(Prompt(messages=(), token_ids=(40,) * CONTEXT), DRAW)


async def test_our_rendering_is_the_servers(pocket: TokenEngine, base_url: str) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        answer = await client.chat.completions.create(
            model="pocket",
            messages=[{"role": "user", "content": MESSAGES[0].content}],
            max_tokens=1,
            extra_body={"return_token_ids": True},
        )
    assert answer.model_extra
    assert tuple(answer.model_extra["prompt_token_ids"]) == asked(pocket).token_ids


async def test_the_chat_engine_speaks_to_it(base_url: str) -> None:
    config = EngineConfig(kind="chat", base_urls=[base_url], model="pocket")
    async with open_engine(config) as engine:
        completion = await engine.complete(Prompt(messages=MESSAGES, reply="It is "), DRAW)
        assert isinstance(engine, ChatEngine)
        assert engine.dialect.continuation is Continuation.FINAL_MESSAGE
    assert completion.completion_tokens == 24
    assert completion.token_ids == ()


async def test_two_roles_share_one_pocket(pocket_dir: Path) -> None:
    config = EngineConfig(model=str(pocket_dir))
    before = psutil.Process().children()
    async with open_engines(config, config) as (_, critic):
        assert len(psutil.Process().children()) == len(before) + 1
        assert isinstance(critic, TokenEngine)
        assert (await critic.complete(asked(critic), DRAW)).completion_tokens == 24


async def test_a_directory_without_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineMisconfigured, match=r"holds no config\.json"):
        async with open_engine(EngineConfig(model=str(tmp_path))):
            pass


def test_the_same_weights_elsewhere_are_the_same_engine(pocket_dir: Path, tmp_path: Path) -> None:
    here, there = EngineConfig(model=str(pocket_dir)), EngineConfig(model=str(tmp_path / "copy"))
    shutil.copytree(pocket_dir, tmp_path / "copy")
    assert engine_identity(here) == engine_identity(there)
    write_tiny_model(tmp_path / "copy", seed=1)
    assert engine_identity(here) != engine_identity(there)
