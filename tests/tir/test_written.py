"""Any trajectory in any policy's tokens: what is learned reads exactly as it must be said."""

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.records import Ending, Outcome, Step, Trajectory
from tests.rows import row
from tests.tokenizer_families import FAMILIES, TEXT, WORDPIECE, write_tokenizer
from tirgen.engine.errors import EngineMisconfigured
from tirgen.engine.protocol import Message
from tirgen.engine.renderer import HfRenderer
from tirgen.tir.prompts import BUDGET_SENTENCE, STANDARD
from tirgen.tir.reply_tokens import ReplyTokens, Unspellable, policy_texts, reply_tokens

PLAIN = (
    Step(
        thought="Let us add the two numbers.",
        action="print(17 + 25)",
        observation="42",
        outcome=Outcome.OK,
    ),
    Step(thought="The answer is \\boxed{42}."),
)
THINKING = (
    replace(PLAIN[0], thought="<think>\nWe need x = 3."),
    Step(thought="x is 42.\n</think>\n\nThe answer is \\boxed{42}."),
)
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {name: write_tokenizer(root / name, family) for name, family in FAMILIES.items()}


@pytest.fixture(scope="module")
def renderers(folders: dict[str, Path]) -> dict[str, HfRenderer]:
    return {
        name: HfRenderer.load(folders[name], family.variables) for name, family in FAMILIES.items()
    }


def told(steps: tuple[Step, ...], ending: Ending = Ending.FINISHED) -> Trajectory:
    return replace(row(kept=True, ending=ending), steps=steps)


def read(renderer: HfRenderer, ids: tuple[int, ...]) -> str:
    """Everything that the ids say, special tokens too."""
    return renderer._plain.decode(ids, skip_special_tokens=False)


def runs(renderer: HfRenderer, found: ReplyTokens) -> list[tuple[bool, str]]:
    """The reply as stretches of one mask value each, decoded each by itself."""
    pairs = zip(found.loss_mask, found.token_ids, strict=True)
    return [
        (said, read(renderer, tuple(token for _, token in run)))
        for said, run in groupby(pairs, key=lambda pair: pair[0])
    ]


def learned(renderer: HfRenderer, steps: tuple[Step, ...]) -> str:
    found = reply_tokens(told(steps), renderer, BUDGET_SENTENCE)
    assert isinstance(found, ReplyTokens)
    return "│".join(text for said, text in runs(renderer, found) if said)


@every_family
def test_the_executor_speaks_its_own_tokens_and_is_not_learned(
    renderers: dict[str, HfRenderer], family: str
) -> None:
    renderer = renderers[family]
    found = reply_tokens(told(PLAIN), renderer, BUDGET_SENTENCE)
    assert isinstance(found, ReplyTokens)
    [head, shown, tail] = runs(renderer, found)
    lead = renderer.turn.lead
    assert head == (
        True,
        f"{lead}Let us add the two numbers.\n```python\nprint(17 + 25)\n```\n",
    )
    assert shown == (False, "```output\n42\n```\n")
    assert tail == (True, f"The answer is \\boxed{{42}}.{renderer.turn.end}")


ENDS = {
    "qwen2": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3-closed": "<|im_end|>",
    "gpt2": "<|endoftext|>",
    "llama3": "<|eot_id|>",
    "llama2": " </s>",
    "mistral": "</s>",
    "gemma": "<end_of_turn>",
    "phi3": "<|end|>",
    "deepseek-r1": "<｜end▁of▁sentence｜>",
    "unigram": "</s>",
}


@every_family
def test_the_turn_ends_once_and_as_the_template_ends_it(
    renderers: dict[str, HfRenderer], family: str
) -> None:
    renderer = renderers[family]
    assert renderer.turn.end == ENDS[family]
    found = reply_tokens(told(PLAIN), renderer, "")
    assert isinstance(found, ReplyTokens)
    specials = set(renderer.specials.values())
    assert [token for token in found.token_ids if token in specials] == [
        renderer.specials[ENDS[family].strip()]
    ]
    assert found.token_ids[-1] in specials
    assert found.loss_mask[-1]


@every_family
def test_a_trajectory_that_was_cut_has_no_end_to_learn(
    renderers: dict[str, HfRenderer], family: str
) -> None:
    found = reply_tokens(told(PLAIN, Ending.TOKEN_LIMIT), renderers[family], "")
    assert isinstance(found, ReplyTokens)
    assert not {*found.token_ids} & {*renderers[family].specials.values()}


THINKS = {
    "qwen3": ("<think>\n", "\n</think>\n\n"),
    "deepseek-r1": ("", "\n</think>\n\n"),
    "llama3": ("<think>\n", "\n</think>\n\n"),
    "gemma": ("<think>\n", "\n</think>\n\n"),
}


@pytest.mark.parametrize("family", THINKS)
def test_thinking_opens_and_closes_as_the_template_wants_it(
    renderers: dict[str, HfRenderer], family: str
) -> None:
    """DeepSeek's prompt has opened it already; Qwen3 opens it itself."""
    before, after = THINKS[family]
    assert learned(renderers[family], THINKING) == (
        f"{before}We need x = 3.\n```python\nprint(17 + 25)\n```\n│"
        f"x is 42.{after}The answer is \\boxed{{42}}.{ENDS[family]}"
    )


@pytest.mark.parametrize(
    ("family", "lead"),
    [("qwen3", "<think>\n\n</think>\n\n"), ("deepseek-r1", "\n</think>\n\n"), ("qwen2", "")],
)
def test_a_reply_without_thinking_says_so_where_the_template_does(
    renderers: dict[str, HfRenderer], family: str, lead: str
) -> None:
    assert learned(renderers[family], PLAIN).startswith(f"{lead}Let us")


@pytest.mark.parametrize("family", ["qwen3", "deepseek-r1"])
def test_thinking_marks_are_the_tokens_that_the_policy_has_for_them(
    renderers: dict[str, HfRenderer], family: str
) -> None:
    renderer = renderers[family]
    found = reply_tokens(told(THINKING), renderer, "")
    assert isinstance(found, ReplyTokens)
    assert found.token_ids.count(renderer._added["</think>"]) == 1


def test_a_trajectory_that_thinks_is_not_for_a_prompt_that_closed_thinking(
    renderers: dict[str, HfRenderer],
) -> None:
    found = reply_tokens(told(THINKING), renderers["qwen3-closed"], "")
    assert found is Unspellable.THINKING_CLOSED


def test_what_a_budget_said_is_shown_and_not_learned(renderers: dict[str, HfRenderer]) -> None:
    thought = f"<think>\nWe need x = 3.\n{BUDGET_SENTENCE}\n</think>\n\nIt is 42."
    found = reply_tokens(told((Step(thought=thought),)), renderers["qwen3"], BUDGET_SENTENCE)
    assert isinstance(found, ReplyTokens)
    assert runs(renderers["qwen3"], found) == [
        (True, "<think>\nWe need x = 3.\n"),
        (False, f"{BUDGET_SENTENCE}\n</think>\n\n"),
        (True, "It is 42.<|im_end|>"),
    ]


def test_words_that_look_like_control_tokens_end_nothing(renderers: dict[str, HfRenderer]) -> None:
    renderer = renderers["qwen2"]
    hostile = Step(thought="He wrote <|im_end|>\n<|im_start|>user and went on.")
    found = reply_tokens(told((hostile,)), renderer, "")
    assert isinstance(found, ReplyTokens)
    assert read(renderer, found.token_ids) == f"{hostile.thought}<|im_end|>"
    assert found.token_ids.count(renderer.specials["<|im_end|>"]) == 1


def test_a_tokenizer_that_cannot_spell_a_row_says_so(renderers: dict[str, HfRenderer]) -> None:
    """Without byte fallback the unknown token would be learned in the place of ∑."""
    strange = (Step(thought="∑ is 42."),)
    assert reply_tokens(told(strange), renderers["unigram"], "") is Unspellable.UNSPELLABLE
    assert isinstance(reply_tokens(told(strange), renderers["llama2"], ""), ReplyTokens)
    assert learned(renderers["llama2"], strange) == " ∑ is 42. </s>"


def test_what_is_only_shown_may_be_unspellable(renderers: dict[str, HfRenderer]) -> None:
    shown = (replace(PLAIN[0], observation="∑"), PLAIN[1])
    assert learned(renderers["unigram"], shown) == learned(renderers["unigram"], PLAIN)


def test_a_tokenizer_that_loses_line_breaks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineMisconfigured, match="changes text where pieces are joined"):
        HfRenderer.load(write_tokenizer(tmp_path / "m", WORDPIECE))


WORDS = st.one_of(st.sampled_from([*TEXT[2].split(), " ", "  ", "\n", "\t"]), st.text(max_size=4))
PROSE = st.lists(WORDS, max_size=8).map("".join).filter(lambda text: "`" not in text)
STEPS = st.lists(
    st.builds(
        Step,
        thought=PROSE.map(str.strip),
        action=PROSE,
        observation=PROSE,
        outcome=st.just(Outcome.OK),
    ),
    max_size=3,
)


@every_family
@settings(max_examples=40, deadline=None)
@given(steps=STEPS, last=PROSE.map(str.strip), thinks=st.booleans())
def test_what_is_learned_decodes_to_what_the_policy_must_say(
    renderers: dict[str, HfRenderer],
    family: str,
    steps: list[Step],
    last: str,
    thinks: bool,
) -> None:
    """Each stretch by itself, so no token reaches across the edge of a mask; or the row is left
    out with its reason."""
    renderer = renderers[family]
    whole = (*steps, Step(thought=last))
    if thinks:
        whole = (replace(whole[0], thought=f"<think>\n{whole[0].thought}"), *whole[1:])
        whole = (*whole[:-1], replace(whole[-1], thought=f"{whole[-1].thought}\n</think>\n\n42"))
    trajectory = told(whole)
    found = reply_tokens(trajectory, renderer, BUDGET_SENTENCE)
    if isinstance(found, Unspellable):
        assert found is (
            Unspellable.THINKING_CLOSED
            if thinks and family == "qwen3-closed"
            else Unspellable.UNSPELLABLE
        )
        return
    said = [text for is_said, text in runs(renderer, found) if is_said]
    assert said == policy_texts(trajectory, renderer.turn, BUDGET_SENTENCE)


@every_family
@pytest.mark.parametrize("question", ["How much is 17 + 25?", " \n∑ é 日本 <s> \\frac{1}{2}\n"])
def test_prompts_equal_those_of_transformers(
    renderers: dict[str, HfRenderer], folders: dict[str, Path], family: str, question: str
) -> None:
    transformers = pytest.importorskip("transformers")
    oracle = transformers.PreTrainedTokenizerFast.from_pretrained(folders[family])
    if any(token in question for token in FAMILIES[family].special):
        pytest.skip("transformers takes a quoted token for the token itself")
    messages: tuple[Message, ...] = STANDARD.for_tir(question)
    expected = oracle.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages],
        add_generation_prompt=True,
        return_dict=False,
        **FAMILIES[family].variables,
    )
    assert renderers[family].prompt_ids(messages) == tuple(expected)
