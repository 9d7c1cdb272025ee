import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tirgen.embedded.tokenizer import TemplateRefused, Vocabulary

TALK = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "It is  "},
]


def test_bytes_decode_like_the_tokenizer(tiny_model: Path) -> None:
    vocabulary = Vocabulary(tiny_model)
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        ids = rng.integers(0, tokenizer.get_vocab_size(), rng.integers(1, 40)).tolist()
        for skip in (False, True):
            expected = tokenizer.decode(ids, skip_special_tokens=skip)
            assert vocabulary.decode(ids, skip_special=skip) == expected


@pytest.mark.parametrize("text", ["naïve café", "数学 → 🙂", "a\n\tb", ""])
def test_text_survives_the_round_trip(tiny_model: Path, text: str) -> None:
    vocabulary = Vocabulary(tiny_model)
    ids = vocabulary.encode(text, add_special_tokens=False)
    assert vocabulary.decode(ids, skip_special=False) == text


@pytest.mark.parametrize("mode", ["generate", "continue", "closed"])
def test_conversations_render_like_transformers(tiny_model: Path, mode: str) -> None:
    transformers = pytest.importorskip("transformers")
    options = {
        "add_generation_prompt": mode == "generate",
        "continue_final_message": mode == "continue",
    }
    reference = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tiny_model / "tokenizer.json")
    )
    reference.chat_template = (tiny_model / "chat_template.jinja").read_text()
    expected = reference.apply_chat_template(TALK, tokenize=False, **options)
    assert Vocabulary(tiny_model).render(TALK, **options) == expected


def test_an_empty_final_message_can_be_continued(tiny_model: Path) -> None:
    talk = [TALK[0], {"role": "assistant", "content": ""}]
    text = Vocabulary(tiny_model).render(
        talk, add_generation_prompt=False, continue_final_message=True
    )
    assert text.endswith("<|im_start|>assistant\n")


def copy_with_template(model_dir: Path, out: Path, template: str | None) -> Vocabulary:
    """The model's tokenizer beside another template, in the older of the two places."""
    (out / "tokenizer.json").symlink_to(model_dir / "tokenizer.json")
    described = {"eos_token": "<|im_end|>"} | ({"chat_template": template} if template else {})
    (out / "tokenizer_config.json").write_text(json.dumps(described))
    return Vocabulary(out)


def test_what_the_template_raises_is_told(tiny_model: Path, tmp_path: Path) -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    vocabulary = copy_with_template(tiny_model, tmp_path, template)
    with pytest.raises(TemplateRefused, match="roles must alternate"):
        vocabulary.render(TALK, add_generation_prompt=True, continue_final_message=False)


def test_a_template_within_the_tokenizer_config_knows_the_special_tokens(
    tiny_model: Path, tmp_path: Path
) -> None:
    vocabulary = copy_with_template(tiny_model, tmp_path, "{{ messages[0].content + eos_token }}")
    text = vocabulary.render(TALK, add_generation_prompt=True, continue_final_message=False)
    assert text == "What is 2 + 2?<|im_end|>"


def test_a_folder_without_a_template_completes_and_refuses_to_chat(
    tiny_model: Path, tmp_path: Path
) -> None:
    vocabulary = copy_with_template(tiny_model, tmp_path, None)
    assert vocabulary.encode("1", add_special_tokens=True)
    with pytest.raises(TemplateRefused, match="no chat template"):
        vocabulary.render(TALK, add_generation_prompt=True, continue_final_message=False)
