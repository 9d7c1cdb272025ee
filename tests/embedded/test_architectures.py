"""Every architecture, through the whole engine, against transformers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.embedded.random_models import CASES, random_model, write_random_model  # noqa: E402
from tirgen.embedded.architecture import ModelShape, ModelUnsupported  # noqa: E402
from tirgen.embedded.batching import ContinuousBatchingEngine  # noqa: E402
from tirgen.embedded.generation import GenerationRequest, SampledSequence  # noqa: E402
from tirgen.embedded.runtime import ov  # noqa: E402
from tirgen.embedded.serving_settings import ServingSettings  # noqa: E402
from tirgen.embedded.weights import read_weights  # noqa: E402
from tirgen.engine.engine_config import Precision  # noqa: E402

LENGTH = 300
"""Tokens of a sequence: beyond the original context of every stretched rotary embedding."""


def prompt(seed: int, length: int = LENGTH) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(3, 500, length).tolist())


def request(seed: int, length: int = LENGTH) -> GenerationRequest:
    return GenerationRequest(prompt=prompt(seed, length), max_tokens=24, seed=seed, ignore_eos=True)


async def generate(
    folder: Path, requests: list[GenerationRequest], settings: ServingSettings | None = None
) -> list[SampledSequence]:
    engine = ContinuousBatchingEngine(folder, settings)
    progress = asyncio.Event()
    try:
        generations = [engine.submit(one, progress) for one in requests]
        while not all(generation.done for generation in generations):
            progress.clear()
            await asyncio.wait_for(progress.wait(), 60)
        return generations
    finally:
        await asyncio.to_thread(engine.close)


def trainer_logprobs(model: Any, generation: SampledSequence) -> Any:
    """What transformers makes of the very tokens that were sampled."""
    read = len(generation.request.prompt)
    ids = torch.tensor([[*generation.request.prompt, *generation.token_ids]])
    with torch.no_grad():
        scores = model(ids).logits[0, read - 1 : -1].log_softmax(-1)
    return scores.gather(1, ids[0, read:, None])[:, 0].numpy()


def furthest(model: Any, generations: list[SampledSequence]) -> float:
    assert all(generation.failure is None for generation in generations)
    return max(
        float(np.abs(trainer_logprobs(model, one) - np.array(one.logprobs)).max())
        for one in generations
    )


@pytest.mark.parametrize("case", CASES)
async def test_log_probabilities_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    model = write_random_model(tmp_path, case)
    requests = [request(seed, length) for seed, length in enumerate((LENGTH, 1, 40, LENGTH))]
    generations = await generate(tmp_path, requests)
    assert furthest(model, generations) < 1e-4
    assert len({generation.token_ids[0] for generation in generations}) > 1


async def test_the_rotary_embedding_decides(tmp_path: Path) -> None:
    """Were stretching left out, the comparison above would see it."""
    write_random_model(tmp_path, "llama, rope yarn")
    plain = random_model("llama")
    assert furthest(plain, await generate(tmp_path, [request(1)])) > 1e-2


async def test_the_older_way_to_write_a_rotary_embedding_is_read(tmp_path: Path) -> None:
    model = write_random_model(tmp_path, "llama, rope llama3")
    config = json.loads((tmp_path / "config.json").read_text())
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    (tmp_path / "config.json").write_text(json.dumps(config | {"rope_scaling": scaling}))
    assert furthest(model, await generate(tmp_path, [request(1)])) < 1e-4


async def test_one_alone_and_among_many_are_the_same(tmp_path: Path) -> None:
    write_random_model(tmp_path, "llama, tied")
    (alone,) = await generate(tmp_path, [request(3)])
    among = await generate(tmp_path, [request(seed) for seed in range(16)])
    assert (among[3].token_ids, among[3].logprobs) == (alone.token_ids, alone.logprobs)


async def test_shards_are_one_model(tmp_path: Path) -> None:
    model = write_random_model(tmp_path, "qwen2", max_shard_size="60KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert furthest(model, await generate(tmp_path, [request(1)])) < 1e-4


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    write_random_model(tmp_path, "qwen2", max_shard_size="60KB")
    (shard, *_) = tmp_path.glob("model-00002*.safetensors")
    shard.unlink()
    with pytest.raises(ModelUnsupported, match=shard.name):
        read_weights(tmp_path, ModelShape.read(tmp_path))


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd"])
def test_an_index_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    write_random_model(tmp_path, "qwen2")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(ModelUnsupported, match="not a file of the folder"):
        read_weights(tmp_path, ModelShape.read(tmp_path))


async def test_weights_stored_in_bfloat16_are_served_as_they_are(tmp_path: Path) -> None:
    write_random_model(tmp_path, "qwen2").to(torch.bfloat16).save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert furthest(model, await generate(tmp_path, [request(1)])) < 1e-4


async def test_eight_bits_are_near_and_not_the_same(tmp_path: Path) -> None:
    model = write_random_model(tmp_path, "llama, tied")
    settings = ServingSettings(precision=Precision.INT8)
    distance = furthest(model, await generate(tmp_path, [request(1)], settings))
    assert 1e-3 < distance < 1


async def test_bfloat16_is_near_or_refused_for_the_processor(tmp_path: Path) -> None:
    model = write_random_model(tmp_path, "llama, tied")
    settings = ServingSettings(precision=Precision.BFLOAT16)
    if "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert 1e-4 < furthest(model, await generate(tmp_path, [request(1)], settings)) < 1
    else:
        with pytest.raises(ModelUnsupported, match="computes no bfloat16"):
            await generate(tmp_path, [request(1)], settings)


async def test_a_cache_for_two_serves_many_in_turn(tmp_path: Path) -> None:
    """A sequence that finds the cache full is put back, and says the same in the end."""
    model = write_random_model(tmp_path, "llama")
    small = ServingSettings(cache_gib=2 * 512 * ModelShape.read(tmp_path).cached_values * 4 / 2**30)
    requests = [request(seed, LENGTH) for seed in range(12)]
    generations = await generate(tmp_path, requests, small)
    assert furthest(model, generations) < 1e-4
    roomy = await generate(tmp_path, requests)
    assert [one.token_ids for one in generations] == [one.token_ids for one in roomy]


async def test_a_context_beyond_the_cache_or_the_model_is_refused(tmp_path: Path) -> None:
    write_random_model(tmp_path, "llama")
    with pytest.raises(ModelUnsupported, match="raise --cache-gib or lower --context"):
        await generate(tmp_path, [], ServingSettings(cache_gib=1e-6))
    with pytest.raises(ModelUnsupported, match="made for 512 tokens"):
        await generate(tmp_path, [], ServingSettings(context=513))


async def test_a_policy_saved_by_transformers_takes_the_place_of_the_served(
    tmp_path: Path,
) -> None:
    """Tied heads included, which a saved policy may hold beside the embedding."""
    first, second = tmp_path / "v1", tmp_path / "v2"
    write_random_model(first, "llama, tied")
    model = write_random_model(second, "llama, tied", seed=1, max_shard_size="60KB")
    engine = ContinuousBatchingEngine(first)
    try:
        await engine.reload(second)
        progress = asyncio.Event()
        generation = engine.submit(request(1), progress)
        await asyncio.wait_for(progress.wait(), 60)
        assert furthest(model, [generation]) < 1e-4
    finally:
        await asyncio.to_thread(engine.close)
