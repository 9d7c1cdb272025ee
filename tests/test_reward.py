"""`tirgen.reward`: what it returns, and TRL's GRPOTrainer calling it on a tiny model."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import tirgen
from tirgen.scoring import Completion
from tirgen.verification import VerifierUnavailable

UNVERIFIABLE = "f(x) is increasing for all x, hence the claim"
CHAT: Completion = [
    {"role": "assistant", "content": "We compute.", "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": r"\boxed{7}"},
    {"role": "assistant", "content": [{"type": "text", "text": r"It is $\boxed{8}$."}]},
    {"role": "assistant", "content": None},
]


@pytest.mark.parametrize(
    ("completion", "answer", "expected"),
    [
        (r"So $\boxed{0.5}$", r"\frac{1}{2}", 1.0),
        (r"So $\boxed{0.4}$", r"\frac{1}{2}", 0.0),
        ("So 0.5", r"\frac{1}{2}", 0.0),
        ("", "1", 0.0),
        (CHAT, "8", 1.0),
        (CHAT, "7", 0.0),
        ([], "7", 0.0),
    ],
)
def test_right_is_one_and_all_else_is_nought(
    completion: Completion, answer: str, expected: float
) -> None:
    assert tirgen.reward([completion], [answer], prompts=["?"], trainer_state=None) == [expected]


def test_a_decimal_of_exact_digits_is_rewarded_where_they_are_set() -> None:
    completions, answer = [r"So $\boxed{0.333333}$"], [r"\frac{1}{3}"]
    assert tirgen.reward(completions, answer) == [0.0]
    assert tirgen.reward(completions, answer, exact_digits=6) == [1.0]


def test_what_cannot_be_known_is_none_and_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    assert tirgen.reward([r"\boxed{1}", r"\boxed{1}"], [UNVERIFIABLE, "1"]) == [None, 1.0]
    assert tirgen.reward(["no answer"], [UNVERIFIABLE]) == [None], "as for the other attempts"
    assert "no reward for 1 of 2: 1 times the gold answer cannot be verified" in caplog.text

    def unavailable(gold: str, response: str, exact_digits: int | None) -> Any:
        raise VerifierUnavailable("the worker died")

    monkeypatch.setattr("tirgen.scoring.verify", unavailable)
    assert tirgen.reward([r"\boxed{1}"], ["1"]) == [None]
    assert "the verifier failed (the worker died)" in caplog.text


def test_a_batch_of_other_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        tirgen.reward(["a", "b"], ["1"])


def test_many_are_judged_in_their_order() -> None:
    texts = [rf"$\boxed{{x^{n} + 1}}$" for n in range(2, 40)]
    golds = [f"1 + x^{n if n % 3 else n + 1}" for n in range(2, 40)]
    assert tirgen.reward(texts, golds) == [float(bool(n % 3)) for n in range(2, 40)]


@pytest.mark.filterwarnings("ignore")
def test_trl_trains_with_it(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="pip install trl==1.16.0")
    datasets = pytest.importorskip("datasets")
    transformers = pytest.importorskip("transformers")
    from tirgen.embedded.models import MODEL_DIR

    seen: list[float | None] = []

    def watched(completions: list[Completion], answer: list[str], **columns: Any) -> Any:
        found = tirgen.reward(completions, answer, **columns)
        seen.extend(found)
        return found

    prompts = [f"Question: What is {n} plus 2?\n\nReasoning:" for n in range(4)]
    golds = [UNVERIFIABLE, *(str(n + 2) for n in range(1, 4))]
    data = datasets.Dataset.from_dict({"prompt": prompts, "answer": golds})
    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=8, num_generations=2,
        max_completion_length=24, use_cpu=True, report_to=[], logging_steps=1, save_strategy="no",
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(MODEL_DIR),
        processing_class=transformers.AutoTokenizer.from_pretrained(MODEL_DIR),
        reward_funcs=watched,
        args=arguments,
        train_dataset=data,
    )
    trainer.train()
    assert len(seen) == 8
    assert seen.count(None) == 2, "both completions to the question with an unverifiable answer"
    assert set(seen) <= {0.0, 1.0, None}
    [logged] = [entry for entry in trainer.state.log_history if "rewards/watched/mean" in entry]
    scored = [value for value in seen if value is not None]
    assert logged["rewards/watched/mean"] == pytest.approx(sum(scored) / len(scored))


async def test_verifiers_scores_with_it() -> None:
    """As docs/outside.md shows; verifiers pins other libraries than ours, so it is seldom there."""
    vf: Any = pytest.importorskip("verifiers.v1", reason="pip install verifiers==0.4.0")

    class Data(vf.TaskData):  # type: ignore[misc]
        answer: str = ""

    class MathTask(vf.Task[Data]):  # type: ignore[misc]
        @vf.reward  # type: ignore[untyped-decorator]
        async def right(self, trace: Any) -> dict[str, float]:
            scored = asyncio.to_thread(tirgen.reward, [trace.last_reply], [self.data.answer])
            [score] = await scored
            return {} if score is None else {"right": score}

    async def rewards(reply: str, answer: str) -> dict[str, float]:
        task = MathTask(Data(answer=answer))
        trace = vf.Trace.model_construct(root_reply=reply, rewards={}, metrics={}, nodes=[])
        await task.score(trace)
        return {name: value.value for name, value in trace.rewards.items()}

    assert await rewards(r"It is $\boxed{0.5}$.", r"\frac{1}{2}") == {"right": 1.0}
    assert await rewards("I do not know.", "3") == {"right": 0.0}
    assert await rewards(r"$\boxed{1}$", UNVERIFIABLE) == {}
