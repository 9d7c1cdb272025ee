"""The weights in the package are what the pretraining job writes."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

MODEL_DIR = Path(__file__).parents[2] / "tirgen" / "pocket" / "model"


def test_the_shipped_weights_are_small() -> None:
    assert (MODEL_DIR / "model.safetensors").stat().st_size <= 6_000_000


def test_the_shipped_weights_load_and_end_a_turn() -> None:
    model = Qwen3ForCausalLM.from_pretrained(MODEL_DIR)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    step = "Rewrite this step so that Python does the computing.\n\nThe answer is \\boxed{7}."
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": step}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    with torch.no_grad():
        reply = model.generate(prompt, max_new_tokens=40, do_sample=False)[0, prompt.shape[1] :]
    assert reply[-1].item() == tokenizer.eos_token_id
    assert tokenizer.decode(reply, skip_special_tokens=True) == "The answer is \\boxed{7}."


def test_the_shipped_head_is_its_own_matrix() -> None:
    model = Qwen3ForCausalLM.from_pretrained(MODEL_DIR)
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert model.config.head_dim == 64
