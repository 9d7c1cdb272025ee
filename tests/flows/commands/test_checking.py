"""`tirgen dataset check` and `policy check`: published files against what was published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli import run
from storage.datasets import Store
from storage.policies import Policies, PolicyVersion
from storage.versions import DatasetVersion
from tirgen.jobs.generate import generate
from tirgen.jobs.generate_config import GenerateConfig


async def dataset(root: Path) -> DatasetVersion:
    settings = {"dataset": "d", "problems": {"limit": 3}, "attempts": 1, "cot_samples": 0}
    report = await generate(GenerateConfig.model_validate(settings), Store(root))
    return report.version


async def policy(root: Path) -> PolicyVersion:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"parameters")

    return Policies(root).publish("p", write, {"parent": None, "config_hash": "c0ffee"})


def spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize("harm", [spoil, Path.unlink])
@pytest.mark.parametrize(("kind", "make"), [("dataset", dataset), ("policy", policy)])
async def test_a_file_that_is_not_what_was_published_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str, make: Any, harm: Any
) -> None:
    version = await make(tmp_path)
    [file] = {*version.path.glob("*.parquet"), *version.path.glob("*.safetensors")}
    asked = ["check", str(version), "--store", str(tmp_path), "--json"]
    assert check(capsys, kind, asked) == (0, {"checked": str(version), "damaged": []})
    harm(file)
    code, told = check(capsys, kind, asked)
    assert (code, [one["path"] for one in told["damaged"]]) == (1, [str(file)])


def check(capsys: pytest.CaptureFixture[str], kind: str, arguments: list[str]) -> tuple[int, Any]:
    code = run([kind, *arguments])
    return code, json.loads(capsys.readouterr().out)
