"""What the thinking pocket is taught."""

import json
from itertools import islice, pairwise
from pathlib import Path

from tokenizers import Tokenizer

from storage.records import Step
from tirgen.embedded.pocket.corpus import (
    THINKING,
    draw_samples,
    encode_sample,
    full_text,
    write_corpus,
)
from tirgen.embedded.pocket.problems import split_of
from tirgen.embedded.pocket.samples import NO_RESULT, Conversation, SampleKind
from tirgen.embedded.pocket.thinking_samples import LONGEST_WINDOW, ThinkingMixture
from tirgen.embedded.pocket.tokenizer import CONTEXT, train_tokenizer
from tirgen.filters.untouched import changed_beyond_programs
from tirgen.tir.markup import parse_trajectory
from tirgen.tir.prompts import BUDGET_SENTENCE, POCKET

SAMPLES = list(islice(draw_samples(1, ThinkingMixture()), 1200))
TOKENIZER: Tokenizer = train_tokenizer(full_text(sample) for sample in SAMPLES)


def of_kind(kind: SampleKind) -> list[Conversation]:
    return [sample for sample in SAMPLES if sample.kind is kind]


def reply_of(sample: Conversation) -> str:
    return "".join(piece.text for piece in sample.reply)


def window_of(sample: Conversation) -> str:
    return sample.messages[0].content.removeprefix(POCKET.for_critic("")[0].content)


def test_every_answer_thinks_first_and_answers_after_it() -> None:
    for sample in of_kind(SampleKind.COT) + of_kind(SampleKind.CONTINUED):
        thinking, _, answer = reply_of(sample).partition("</think>")
        assert thinking.startswith("<think>\n")
        assert "\\boxed" not in thinking
        assert answer.startswith("\n\nThe answer is \\boxed{")


def test_some_thinking_checks_itself_and_some_finds_itself_wrong() -> None:
    texts = [reply_of(sample) for sample in of_kind(SampleKind.COT)]
    checked = sum("Checked again, " in text for text in texts) / len(texts)
    caught = sum("Wait, " in text for text in texts) / len(texts)
    assert 0.2 < checked < 0.7
    assert 0.05 < caught < 0.4


def test_the_budget_sentence_is_read_not_learned() -> None:
    cut = [sample for sample in of_kind(SampleKind.COT) if BUDGET_SENTENCE in reply_of(sample)]
    assert 0.05 < len(cut) / len(of_kind(SampleKind.COT)) < 0.2
    for sample in cut:
        [piece] = [piece for piece in sample.reply if BUDGET_SENTENCE in piece.text]
        assert not piece.learned


def test_the_critic_changes_nothing_beyond_its_programs() -> None:
    """The corpus teaches what the filter asks for."""
    programs = 0
    for sample in of_kind(SampleKind.CRITIC):
        reply = reply_of(sample)
        if NO_RESULT in reply:
            continue
        parsed = parse_trajectory(reply)
        steps = [
            Step(thought=step.thought, action=step.action, draft=window_of(sample) if not n else "")
            for n, step in enumerate(parsed)
        ]
        assert changed_beyond_programs(steps, complete=True) is None, reply
        programs += sum(step.action is not None for step in parsed)
    assert programs > len(of_kind(SampleKind.CRITIC)) / 2


def test_a_window_without_a_computation_is_repeated() -> None:
    idle = [sample for sample in of_kind(SampleKind.CRITIC) if "```" not in reply_of(sample)]
    assert idle
    for sample in idle:
        assert reply_of(sample) == window_of(sample)


def test_windows_have_several_lines_and_fit() -> None:
    windows = [window_of(sample) for sample in of_kind(SampleKind.CRITIC)]
    assert sum("\n" in window for window in windows) > len(windows) / 2
    several = [window for window in windows if "\n" in window]
    assert max(map(len, several)) <= LONGEST_WINDOW + 10


def test_a_corrected_value_is_carried_into_the_next_line() -> None:
    carried = total = 0
    for sample in of_kind(SampleKind.CRITIC):
        steps = parse_trajectory(reply_of(sample))
        for before, after in pairwise(steps):
            if before.observation and after.action and before.observation.isdigit():
                claims = window_of(sample)
                if before.observation not in claims:
                    total += 1
                    carried += before.observation in after.action
    assert total > 20
    assert carried / total > 0.4


def test_no_question_of_the_test_split_is_taught() -> None:
    for sample in of_kind(SampleKind.COT) + of_kind(SampleKind.CONTINUED):
        question = sample.messages[0].content.partition("\nSolve step by step")[0]
        assert split_of(question) == "train"


def test_the_model_of_the_variant_is_small_and_in_bfloat16(tmp_path: Path) -> None:
    write_corpus(tmp_path, variant=THINKING, tokens=20_000)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config["intermediate_size"] == 256


def test_samples_fit_the_context() -> None:
    longest = max(len(encode_sample(TOKENIZER, sample).token_ids) for sample in SAMPLES)
    assert longest < CONTEXT / 2


def test_the_thinking_corpus_follows_from_its_seed(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_corpus(tmp_path / name, variant=THINKING, seed=5, tokens=20_000)
    for file in sorted((tmp_path / "first").iterdir()):
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name
