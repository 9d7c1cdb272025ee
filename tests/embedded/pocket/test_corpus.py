"""The pretraining corpus: formats, tokenizer and masks."""

import random
from itertools import islice
from pathlib import Path

import jinja2
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tirgen.embedded.pocket.corpus import (
    draw_samples,
    encode_sample,
    full_text,
    prompt_text,
    write_corpus,
)
from tirgen.embedded.pocket.families import FAMILIES
from tirgen.embedded.pocket.mistakes import spoil, wrong_value
from tirgen.embedded.pocket.problems import split_of
from tirgen.embedded.pocket.samples import Conversation, Mixture, SampleKind
from tirgen.embedded.pocket.tokenizer import CHAT_TEMPLATE, END, train_tokenizer
from tirgen.tir.markup import closed_code, parse_trajectory, render_output
from tirgen.tir.prompts import POCKET

SAMPLES = list(islice(draw_samples(1, Mixture()), 1500))
TOKENIZER: Tokenizer = train_tokenizer(full_text(sample) for sample in SAMPLES)


def of_kind(kind: SampleKind) -> list[Conversation]:
    return [sample for sample in SAMPLES if sample.kind is kind]


def learned_text(sample: Conversation) -> str:
    ids, mask = encode_sample(TOKENIZER, sample)
    learned = [token for token, keep in zip(ids, mask, strict=True) if keep]
    return TOKENIZER.decode(learned, skip_special_tokens=False)


def reply_of(sample: Conversation) -> str:
    return "".join(piece.text for piece in sample.reply)


def test_the_mask_is_exactly_the_learned_pieces_and_the_end_of_the_turn() -> None:
    for sample in SAMPLES:
        expected = "".join(piece.text for piece in sample.reply if piece.learned) + END
        assert learned_text(sample) == expected


def test_no_prompt_and_no_output_block_is_learned() -> None:
    for sample in SAMPLES:
        text = learned_text(sample)
        assert "<|im_start|>" not in text
        assert "```output" not in text


def test_pieces_tokenise_as_the_whole_text_does() -> None:
    for sample in SAMPLES[:300]:
        whole = TOKENIZER.encode(full_text(sample), add_special_tokens=False).ids
        assert encode_sample(TOKENIZER, sample).token_ids == whole


def test_samples_round_trip() -> None:
    for sample in SAMPLES[:300]:
        ids = encode_sample(TOKENIZER, sample).token_ids
        assert TOKENIZER.decode(ids, skip_special_tokens=False) == full_text(sample)


def test_digits_newlines_and_fences_are_tokens_of_their_own() -> None:
    tokens = TOKENIZER.encode("So it is 348.\n\n```python\nprint(12)\n```\n").tokens
    assert [token for token in tokens if any(c.isdigit() for c in token)] == list("34812")
    assert tokens.count("Ċ") == 5
    assert tokens.count("```") == 2


@pytest.mark.parametrize("boundary", ["\n\n", "```python\n", "```output\n", "```\n"])
def test_injected_text_never_merges_with_its_surroundings(boundary: str) -> None:
    before, after = "The cost is 3 * 4.\n", "12 is the cost"
    whole = TOKENIZER.encode(before + boundary + after).ids
    parts = [TOKENIZER.encode(text).ids for text in (before, boundary, after)]
    assert whole == [token for part in parts for token in part]


@given(st.text(max_size=60))
def test_any_text_can_be_encoded(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    if not any(token in text for token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")):
        assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_the_chat_template_renders_what_was_trained() -> None:
    messages = POCKET.for_cot("What is 2 + 2?")
    rendered = (
        jinja2.Environment()
        .from_string(CHAT_TEMPLATE)
        .render(
            messages=[{"role": m.role, "content": m.content} for m in messages],
            add_generation_prompt=True,
        )
    )
    assert rendered == prompt_text(messages)


def test_no_test_question_is_in_the_corpus() -> None:
    prompts = [
        sample.messages[0].content for sample in SAMPLES if sample.kind is not SampleKind.CRITIC
    ]
    questions = [prompt.partition("\nSolve step by step")[0] for prompt in prompts]
    assert {split_of(question) for question in questions} == {"train"}


def test_the_actor_writes_no_program_under_the_plain_prompt() -> None:
    for sample in of_kind(SampleKind.COT) + of_kind(SampleKind.CONTINUED):
        assert "```" not in learned_text(sample)


def test_the_actor_goes_on_from_the_observed_value() -> None:
    used = total = 0
    for sample in of_kind(SampleKind.CONTINUED):
        observed = parse_trajectory(reply_of(sample))[-2].observation
        assert observed is not None
        following = sample.reply[-1].text.replace("\\frac{", "").replace("}{", "/")
        used += observed in following
        total += 1
    assert used / total > 0.75


def test_outputs_stand_where_the_loop_injects_them() -> None:
    for sample in of_kind(SampleKind.CRITIC):
        if len(sample.reply) == 3:
            program, output, finding = sample.reply
            assert closed_code(program.text) is not None
            observation = parse_trajectory(program.text + output.text)[0].observation
            assert observation is not None
            assert output.text == render_output(observation, after=program.text)
            assert observation in finding.text or "no result" in finding.text


def test_the_critic_repeats_what_computes_nothing() -> None:
    closing = [sample for sample in of_kind(SampleKind.CRITIC) if len(sample.reply) == 1]
    assert closing
    for sample in closing:
        assert sample.messages[0].content.endswith("\n\n" + sample.reply[0].text)


def test_the_critic_is_often_given_a_wrong_value() -> None:
    refined = [sample for sample in of_kind(SampleKind.CRITIC) if len(sample.reply) == 3]
    differs = sum(
        sample.reply[1].text.split("\n")[1] not in sample.messages[0].content for sample in refined
    )
    assert 0.4 < differs / len(refined) < 0.85


def test_the_tool_prompt_is_mostly_answered_without_the_tool() -> None:
    share = sum("```" in reply_of(s) for s in of_kind(SampleKind.TIR)) / len(
        of_kind(SampleKind.TIR)
    )
    assert 0.02 < share < 0.3


def test_a_spoiled_program_differs_and_a_failing_one_has_no_value() -> None:
    rng = random.Random(2)
    code = "import math\nprint(math.prod([12, 34]))"
    for _ in range(200):
        spoiled = spoil(rng, code, "408")
        assert spoiled.code != code
        assert spoiled.observation != "408"
        assert spoiled.failed == (not spoiled.observation.isdigit())


@given(st.integers(-(10**9), 10**9), st.integers(0, 99))
def test_a_wrong_value_is_wrong_and_as_long(value: int, seed: int) -> None:
    wrong = wrong_value(random.Random(seed), str(value))
    assert wrong != str(value)
    assert len(str(int(wrong))) == len(str(value))


def test_a_corpus_follows_from_its_seed(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_corpus(tmp_path / name, seed=5, tokens=20_000)
    for file in sorted((tmp_path / "first").iterdir()):
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name


def test_a_corpus_holds_what_its_summary_says(tmp_path: Path) -> None:
    summary = write_corpus(tmp_path, tokens=60_000)
    table = pq.read_table(tmp_path / "corpus.parquet").to_pylist()
    assert summary.samples == len(table)
    assert summary.tokens == sum(len(row["token_ids"]) for row in table) >= 60_000
    assert summary.learned_tokens == sum(sum(row["loss_mask"]) for row in table)
    assert set(summary.tokens_by_kind) == set(SampleKind)


def test_the_corpus_begins_with_copying(tmp_path: Path) -> None:
    write_corpus(tmp_path, tokens=100_000)
    kinds = pq.read_table(tmp_path / "corpus.parquet").column("kind").to_pylist()
    early, late = kinds[: len(kinds) // 5], kinds[len(kinds) // 2 :]
    assert early.count("critic") / len(early) > late.count("critic") / len(late) + 0.1


def test_every_family_is_in_the_corpus() -> None:
    marks = {"primes": "are not prime", "bases": "base", "recurrence": "rounds"}
    text = "\n".join(sample.messages[0].content for sample in SAMPLES)
    assert all(mark in text for mark in marks.values())
    assert set(marks) <= set(FAMILIES)
