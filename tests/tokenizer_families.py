"""Small real tokenizers of the field's families, each with a chat template of its kind."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

TEXT = [
    "Let us add the two numbers, step by step.\n```python\nprint(17 + 25)\n```\n",
    "```output\n42\n```\nThe answer is \\boxed{42}.\n\n<think>\nWe need x = 3.\n</think>\n\n",
    "x**2 - 5*x + 6 = (x - 2)(x - 3); for i in range(10): total += i\n    return total",
]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHATML = (
    "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
QWEN3 = (
    "{%- for m in messages %}{%- set think = '' %}"
    "{%- if m.role == 'assistant' and loop.last %}"
    "{%- set think = '<think>\\n' + (m.reasoning_content or '').strip('\\n')"
    " + '\\n</think>\\n\\n' %}{%- endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' + think + m.content.lstrip('\\n') + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
LLAMA3 = (
    "{{- bos_token }}{%- for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{%- endif %}"
)
LLAMA2 = (
    "{%- for m in messages %}{%- if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{%- else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{%- endif %}{%- endfor %}"
)
MISTRAL = (
    "{{- bos_token }}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + '[/INST]' }}{%- else %}{{ ' ' + m.content + eos_token }}"
    "{%- endif %}{%- endfor %}"
)
GEMMA = (
    "{{ bos_token }}{%- for m in messages %}"
    "{{ '<start_of_turn>' + (m.role | replace('assistant', 'model')) + '\\n' + m.content | trim"
    " + '<end_of_turn>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}"
)
R1 = (
    "{{- bos_token }}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{{ '<｜User｜>' + m.content }}{%- else %}"
    "{{ '<｜Assistant｜>' + m.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{%- endif %}"
)
PHI3 = (
    "{%- for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{%- endif %}"
)
BARE = "{%- for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{%- endfor %}"


@dataclass(frozen=True, kw_only=True)
class Family:
    build: Callable[[list[AddedToken]], Tokenizer]
    template: str
    special: tuple[str, ...]
    """The first begins a text, the last ends one."""
    added: tuple[str, ...] = ()
    """Tokens of their own that are not marked special."""
    variables: dict[str, Any] = field(default_factory=dict)
    rstrip: bool = False
    """The special tokens swallow the white space behind them."""


def _byte_level(special: list[AddedToken], nfc: bool = False, pattern: str = "") -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pattern)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated"), level])
        if pattern
        else level
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    return tokenizer


def _sentencepiece(
    special: list[AddedToken], *, legacy: bool = False, scheme: str | None = None
) -> Tokenizer:
    """BPE over whole sentences with byte fallback, as Llama 2, Mistral and Gemma have it."""
    fallback = [AddedToken(f"<0x{byte:02X}>", normalized=False) for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    if scheme:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    elif legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    else:
        tokenizer.normalizer = replace
    ends = [decoders.Strip(" ", 1, 0)] if legacy or scheme else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )
    unknown = AddedToken("<unk>", special=True)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[unknown, *special, *fallback], show_progress=False
    )
    tokenizer.train_from_iterator(TEXT * 3, trainer)
    content = json.loads(tokenizer.to_str())
    names = {token.content for token in fallback}
    # The bytes are part of the vocabulary, but no added tokens.
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in names]
    return Tokenizer.from_str(json.dumps(content))


def _unigram(special: list[AddedToken]) -> Tokenizer:
    """SentencePiece without byte fallback: what it has not seen it cannot spell."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=160,
        special_tokens=[AddedToken("<unk>", special=True), *special],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 20, trainer)
    return tokenizer


def _wordpiece(special: list[AddedToken]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300,
        special_tokens=[AddedToken("[UNK]", special=True), *special],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


_IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_THINK = ("<think>", "</think>")
FAMILIES: dict[str, Family] = {
    "qwen2": Family(
        build=lambda special: _byte_level(special, nfc=True, pattern=GPT4),
        template=CHATML,
        special=_IM,
    ),
    "qwen3": Family(
        build=lambda special: _byte_level(special, nfc=True, pattern=GPT4),
        template=QWEN3,
        special=_IM,
        added=_THINK,
    ),
    "qwen3-closed": Family(
        build=_byte_level,
        template=QWEN3,
        special=_IM,
        added=_THINK,
        variables={"enable_thinking": False},
    ),
    "gpt2": Family(build=_byte_level, template=BARE, special=("<|endoftext|>",)),
    "llama3": Family(
        build=lambda special: _byte_level(special, pattern=GPT4),
        template=LLAMA3,
        special=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "llama2": Family(
        build=lambda special: _sentencepiece(special, legacy=True),
        template=LLAMA2,
        special=("<s>", "</s>"),
    ),
    "mistral": Family(
        build=lambda special: _sentencepiece(special, scheme="first"),
        template=MISTRAL,
        special=("<s>", "[INST]", "[/INST]", "</s>"),
    ),
    "gemma": Family(
        build=_sentencepiece,
        template=GEMMA,
        special=("<bos>", "<start_of_turn>", "<end_of_turn>"),
    ),
    "phi3": Family(
        build=lambda special: _sentencepiece(special, scheme="always"),
        template=PHI3,
        special=("<s>", "<|user|>", "<|assistant|>", "<|end|>"),
        rstrip=True,
    ),
    "deepseek-r1": Family(
        build=lambda special: _byte_level(special, pattern=GPT4),
        template=R1,
        special=("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        added=("<｜User｜>", "<｜Assistant｜>", *_THINK),
    ),
    "unigram": Family(build=_unigram, template=BARE, special=("<s>", "</s>")),
}


def write_tokenizer(folder: Path, family: Family) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    special = [
        AddedToken(token, special=True, normalized=False, rstrip=family.rstrip)
        for token in family.special
    ]
    tokenizer = family.build(special)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in family.added])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": family.special[0],
        "eos_token": family.special[-1],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(family.template)
    return folder


WORDPIECE = Family(build=_wordpiece, template=BARE, special=("[CLS]", "[SEP]"))
"""Loses spaces, line breaks and capitals: no trajectory survives it."""
