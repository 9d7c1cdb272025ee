"""A round on the real pocket engine: it samples, we train on what it said, it serves the result."""

import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from storage.datasets import Store
from storage.records import TokenStream, Trajectory
from tests.served_weights import served_version
from tests.trainer.tiny_policy import check_sampler, publish, sampled, trajectory
from tirgen.embedded.local import embedded_server
from tirgen.embedded.models import MODEL_DIR
from tirgen.engine.engine_config import DEFAULT_MODEL, EngineConfig
from tirgen.engine.publication import publish as publish_policy
from trainer.distributed import World
from trainer.oracle import SamplerMismatch
from trainer.rl import train_rl
from trainer.samples import Rollout
from trainer.settings import Names, OptimizerConfig, RlConfig

QUESTIONS = ["What is 3 plus 4?", "What is 12 times 7?", "Solve 2x + 3 = 9."]
GROUP = 8
EXACT = 1e-3
"""Both compute in float32; rounding is 1e-6 a token."""


async def sample(policy: Path) -> list[Trajectory]:
    """Rollouts of the policy by a server of its own, rewarded where they are the shorter half."""
    async with embedded_server(policy, model=DEFAULT_MODEL) as base_url:
        return await sample_from(base_url)


async def sample_from(base_url: str) -> list[Trajectory]:
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    rows = []
    async with aiohttp.ClientSession() as http:
        for question in QUESTIONS:
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True
            )["input_ids"]
            choices = [await _complete(http, base_url, prompt, seed) for seed in range(GROUP)]
            rows += _group(question, prompt, choices)
    return rows


async def _complete(
    http: aiohttp.ClientSession, base_url: str, prompt: list[int], seed: int
) -> dict[str, Any]:
    request = {
        "model": DEFAULT_MODEL,
        "prompt": prompt,
        "max_tokens": 40,
        "temperature": 1.0,
        "logprobs": 0,
        "return_token_ids": True,
        "seed": seed,
    }
    async with http.post(f"{base_url}/completions", json=request) as response:
        assert response.status == 200, await response.text()
        choice: dict[str, Any] = (await response.json())["choices"][0]
        return choice


def _group(question: str, prompt: list[int], choices: list[dict[str, Any]]) -> list[Trajectory]:
    order = sorted(range(len(choices)), key=lambda i: len(choices[i]["token_ids"]))
    rows = []
    for number, choice in enumerate(choices):
        said = choice["token_ids"]
        stream = TokenStream(
            token_ids=(*prompt, *said),
            loss_mask=(False,) * len(prompt) + (True,) * len(said),
            logprobs=(None,) * len(prompt) + tuple(choice["logprobs"]["token_logprobs"]),
            prompt_length=len(prompt),
        )
        short = order.index(number) < GROUP // 2
        rows.append(trajectory(number, question, stream, correct=short))
    return rows


def samples_of(rows: list[Trajectory]) -> list[Rollout]:
    return sampled(rows)


@pytest.mark.skipif(not (MODEL_DIR / "model.safetensors").exists(), reason="no pocket weights")
async def test_the_engine_serves_exactly_what_a_round_published(store: Store, world: World) -> None:
    rows = await sample(MODEL_DIR)
    names = Names(
        store=store.root, policy="pi", parent=str(MODEL_DIR), dataset=str(publish(store, rows))
    )
    config = RlConfig(optimizer=OptimizerConfig(learning_rate=1e-3), oracle_bound=EXACT)
    version = train_rl(names, config, world)
    again = samples_of(await sample(version.path))
    assert check_sampler(version.path, again, EXACT, world).mean < 1e-4
    with pytest.raises(SamplerMismatch, match="nats a token"):
        check_sampler(MODEL_DIR, again, EXACT, world)


def with_stale_head(version: Path, parent: Path, out: Path) -> Path:
    """What vLLM serves after reloading a policy whose tied head it does not find."""
    shutil.copytree(version, out)
    weights = load_file(version / "model.safetensors")
    weights["lm_head.weight"] = load_file(parent / "model.safetensors")["lm_head.weight"]
    save_file(weights, out / "model.safetensors")
    return out


@pytest.mark.skipif(not (MODEL_DIR / "model.safetensors").exists(), reason="no pocket weights")
async def test_a_publication_that_left_the_head_stale_stops_the_next_round(
    store: Store, world: World, tmp_path: Path
) -> None:
    """Server and client believe in the new version; only what was sampled tells."""

    def round_from(parent: str, rows: list[Trajectory]) -> Names:
        dataset = publish(store, rows)
        return Names(store=store.root, policy="pi", parent=parent, dataset=str(dataset))

    config = RlConfig(optimizer=OptimizerConfig(learning_rate=1e-3), oracle_bound=EXACT)
    async with embedded_server(MODEL_DIR) as base_url:
        engine = EngineConfig(kind="tokens", base_urls=[base_url], model=DEFAULT_MODEL)
        first = round_from(str(MODEL_DIR), await sample_from(base_url))
        version = train_rl(first, config, world)

        stale = with_stale_head(version.path, MODEL_DIR, tmp_path / "stale")
        await publish_policy(engine, stale, str(version))
        assert await served_version(engine) == str(version)
        with pytest.raises(SamplerMismatch, match=rf"did not sample from {version}.*a stale head"):
            train_rl(round_from(str(version), await sample_from(base_url)), config, world)

        await publish_policy(engine, version.path, str(version))
        second = train_rl(round_from(str(version), await sample_from(base_url)), config, world)
    assert second.manifest["metrics"]["sampler_gap"] < 1e-4
