"""The weights in the package are what the pretraining job writes."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen3ForCausalLM

MODEL_DIR = Path(__file__).parents[2] / "tirgen" / "embedded" / "pocket" / "model"
THINKING_DIR = MODEL_DIR.with_name("thinking_model")


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


def test_the_weights_that_think_are_small_and_in_bfloat16() -> None:
    folders = (MODEL_DIR, THINKING_DIR)
    assert sum((folder / "model.safetensors").stat().st_size for folder in folders) <= 6_000_000
    types = {tensor.dtype for tensor in load_file(THINKING_DIR / "model.safetensors").values()}
    assert types == {torch.bfloat16}


def test_the_weights_that_think_close_their_thinking() -> None:
    model = Qwen3ForCausalLM.from_pretrained(THINKING_DIR, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(THINKING_DIR)
    question = "Start with x = 3 and replace x by (2 * x + 1) % 9, 2 times. What is x in the end?"
    content = f"{question}\nSolve step by step. Put the answer in \\boxed{{}}."
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(f"{prompt}<think>\n", add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        reply = model.generate(ids, max_new_tokens=200, do_sample=False)[0, ids.shape[1] :]
    said = tokenizer.decode(reply, skip_special_tokens=True)
    assert said.count("</think>") == 1
    assert "\\boxed{" in said.partition("</think>")[2]
