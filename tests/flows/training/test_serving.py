"""A round on a running server: it is given each policy, and its rows are that policy's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from flows.training.models import find_model
from flows.training.rounds import reinforce
from flows.training.settings import RoundsConfig
from storage.datasets import Store
from tests.served_weights import served_version
from tirgen.embedded.local import MODEL_DIR, embedded_server
from tirgen.engine.engine_config import EngineConfig


@pytest.mark.slow
async def test_a_running_server_is_given_the_policy_of_every_round(
    tmp_path: Path, sandbox_url: str
) -> None:
    store = Store(tmp_path)
    async with embedded_server() as base_url:
        engine = EngineConfig(
            kind="tokens", base_urls=[base_url], model="pocket", tokenizer=str(MODEL_DIR)
        )
        config = RoundsConfig.model_validate(
            {
                "rounds": 2,
                "rollouts": {
                    "policy": engine.model_dump(),
                    "prompts": "pocket",
                    "problems": {"path": "pocket:train", "limit": 8},
                    "samples": 6,
                    "groups": None,
                    "branches": None,
                    "sandbox": {"services": [sandbox_url]},
                },
                "update": {"updates": 1, "optimizer": {"learning_rate": 3e-3}},
            }
        )
        rounds = await reinforce(store, "pi", find_model(store, ""), config)
        assert await served_version(engine) == "pi@v1"
    # Steps this long change the policy so much that rows of the first would not pass for the
    # second's: the oracle would have stopped the second update.
    gaps = [each.policy.manifest["metrics"]["sampler_gap"] for each in rounds]
    assert max(gaps) < 1e-3
