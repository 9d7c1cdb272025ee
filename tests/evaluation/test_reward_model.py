from __future__ import annotations

from typing import Any

import pytest

from tests.evaluation.scoring_server import scoring_server
from tirgen.engine.errors import EngineMisconfigured
from tirgen.evaluation.reward_model import RewardModelConfig, open_reward_model


async def test_the_reward_is_the_number_at_the_last_token() -> None:
    async with scoring_server() as (url, server):
        async with open_reward_model(RewardModelConfig(base_url=url, model="rm")) as model:
            assert await model.score("1+1?", "four") == 4.0
        assert server.requests[0] == server.requests[1]  # refused at first, then tried again
    assert server.requests[1] == {
        "model": "rm",
        "messages": [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "four"},
        ],
    }


@pytest.mark.parametrize("answer", [{"data": [{"data": [-1.5]}]}, {"data": [{"data": -1.5}]}])
async def test_a_bare_number_is_a_reward_too(answer: dict[str, Any]) -> None:
    async with scoring_server() as (url, server):
        server.answer = answer
        async with open_reward_model(RewardModelConfig(base_url=url, model="rm")) as model:
            assert await model.score("q", "r") == -1.5


@pytest.mark.parametrize("answer", [{"data": []}, {"data": [{"data": []}]}, {"id": 1}, [1]])
async def test_an_answer_without_a_score_is_one_sentence(
    answer: dict[str, Any] | list[int],
) -> None:
    async with scoring_server() as (url, server):
        server.answer = answer
        async with open_reward_model(RewardModelConfig(base_url=url, model="rm")) as model:
            with pytest.raises(EngineMisconfigured, match="--runner pooling"):
                await model.score("q", "r")


async def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RM_KEY", "secret")
    async with scoring_server() as (url, server):
        config = RewardModelConfig(base_url=url, model="rm", api_key_env="RM_KEY")
        async with open_reward_model(config) as model:
            await model.score("q", "r")
        assert server.authorization == {"Bearer secret"}
    monkeypatch.delenv("RM_KEY")
    with pytest.raises(EngineMisconfigured, match="RM_KEY is not set"):
        async with open_reward_model(config):
            pass


def test_credentials_do_not_belong_in_a_url() -> None:
    with pytest.raises(ValueError, match="base_url"):
        RewardModelConfig(base_url="http://me:secret@host", model="rm")
