"""A pretrained model through the whole engine; `make smollm2` brings it."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tirgen.embedded.batching import ContinuousBatchingEngine
from tirgen.embedded.generation import GenerationRequest, SampledSequence
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.engine_config import Precision

SMOLLM2 = Path(__file__).parents[2] / ".models" / "smollm2"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

pytestmark = pytest.mark.skipif(
    not (SMOLLM2 / "config.json").is_file(), reason="no .models/smollm2: run `make smollm2`"
)


async def answers(precision: Precision, **fields: Any) -> list[SampledSequence]:
    """The same question answered four times, one cached after the other."""
    engine = ContinuousBatchingEngine(SMOLLM2, ServingSettings(precision=precision, context=1024))
    text = engine.vocabulary.render(
        QUESTION, add_generation_prompt=True, continue_final_message=False
    )
    prompt = engine.vocabulary.encode(text, add_special_tokens=False)
    generations = []
    try:
        for seed in range(4):
            progress = asyncio.Event()
            request = GenerationRequest(prompt=prompt, max_tokens=40, seed=seed, **fields)
            generations.append(engine.submit(request, progress))
            await asyncio.wait_for(progress.wait(), 300)
    finally:
        await asyncio.to_thread(engine.close)
    return generations


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.INT8])
async def test_it_knows_what_it_was_taught(precision: Precision) -> None:
    first, *others = await answers(precision, temperature=0)
    assert "Paris" in first.whole_text()
    assert {tuple(one.token_ids) for one in others} == {tuple(first.token_ids)}


async def test_its_log_probabilities_are_those_of_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(SMOLLM2, dtype=torch.float32)
    apart = []
    for one in await answers(Precision.FLOAT32):
        read = len(one.request.prompt)
        ids = torch.tensor([[*one.request.prompt, *one.token_ids]])
        with torch.no_grad():
            scores = model(ids).logits[0, read - 1 : -1].log_softmax(-1)
        expected = scores.gather(1, ids[0, read:, None])[:, 0].numpy()
        apart.append(np.array(one.logprobs) - expected)
    assert np.abs(np.concatenate(apart)).max() < 1e-4
    assert abs(np.concatenate(apart).mean()) < 2e-5


def test_digits_are_split_off_before_words_are_looked_for() -> None:
    """As its makers and llama.cpp do; transformers' reading of the GGUF file loses it."""
    tokenizer = Tokenizer.from_file(str(SMOLLM2 / "tokenizer.json"))
    assert tokenizer.encode("x  12", add_special_tokens=False).tokens == ["x", "ĠĠ", "1", "2"]
