import json
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.export import SftFormat, export_sft
from storage.records import FilterVerdict, Step, Trajectory
from storage.versions import DatasetVersion

Make = Callable[..., Trajectory]


@pytest.fixture
def version(tmp_path: Path, make_trajectory: Make) -> DatasetVersion:
    dropped = make_trajectory("p2", filters=(FilterVerdict(rule="r", kept=False, reason="no"),))
    return Store(tmp_path).open_run("demo", {}, "c0ffee").publish([make_trajectory(), dropped], {})


def joined(steps: tuple[Step, ...]) -> str:
    return "|".join(step.thought for step in steps)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (
            SftFormat.MESSAGES,
            {
                "messages": [
                    {"role": "user", "content": "Q: What is 6 times 7?"},
                    {
                        "role": "assistant",
                        "content": "Let me compute it.|So the answer is \\boxed{42}.",
                    },
                ]
            },
        ),
        (
            SftFormat.PROMPT_COMPLETION,
            {
                "prompt": "Q: What is 6 times 7?",
                "completion": "Let me compute it.|So the answer is \\boxed{42}.",
            },
        ),
    ],
)
def test_kept_rows_are_exported_and_no_others(
    tmp_path: Path,
    version: DatasetVersion,
    make_trajectory: Make,
    shape: SftFormat,
    expected: dict[str, object],
) -> None:
    path = tmp_path / "sft.jsonl"
    assert export_sft(version, path, lambda p: f"Q: {p.question}", joined, shape) == 1
    [row] = map(json.loads, path.read_text().splitlines())
    assert row == {**expected, "trajectory_id": make_trajectory().trajectory_id}
