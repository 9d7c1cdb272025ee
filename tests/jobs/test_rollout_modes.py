"""A policy that thinks gets the paper's lengths, unless others are set."""

from typing import Any

import pytest
from pydantic import ValidationError

from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.rollout_config import RolloutConfig
from tirgen.tir.prompts import STANDARD, THINKING

SERVER = {"kind": "tokens", "base_urls": ["http://gpu:8000/v1"], "model": "m", "tokenizer": "t"}


def rollouts(**settings: Any) -> RolloutConfig:
    return RolloutConfig.model_validate({"policy": SERVER, **settings})


def test_lengths_and_prompts_follow_the_mode() -> None:
    plain = rollouts(branches={})
    thinks = rollouts(mode="reasoning", branches={})
    assert plain.branches is not None
    assert thinks.branches is not None
    assert (plain.loop.tokens, plain.branches.suffix_tokens) == (4096, 100)
    assert (thinks.loop.tokens, thinks.branches.suffix_tokens) == (16384, 500)
    assert (plain.prompt_set, thinks.prompt_set) == (STANDARD, THINKING)


def test_what_is_set_wins_and_what_is_off_stays_off() -> None:
    found = rollouts(mode="reasoning", loop={"tokens": 9000}, correction={"suffix_tokens": 7})
    assert found.correction is not None
    assert (found.loop.tokens, found.correction.suffix_tokens) == (9000, 7)
    assert (found.branches, rollouts(mode="reasoning").correction) == (None, None)


def test_an_evaluation_of_a_thinking_policy_keeps_the_rules_of_inference() -> None:
    found = EvaluationConfig.model_validate({"policy": SERVER, "mode": "reasoning"})
    assert (found.loop.tokens, found.loop.tool_rounds) == (16384, 10)
    assert not found.loop.stop_at_failure


def test_a_thinking_budget_leaves_room_for_an_answer() -> None:
    assert rollouts(mode="reasoning", thinking={"tokens": 10_000}).thinking.tokens == 10_000
    with pytest.raises(ValidationError, match="room for an answer"):
        rollouts(thinking={"tokens": 4096})
