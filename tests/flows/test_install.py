"""The package as a stranger gets it: no extras, no checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the built package alone."""
    folder = tmp_path_factory.mktemp("install")
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, source], check=True)
    return python.parent


def test_the_command_runs_without_dev_extras(installed: Path) -> None:
    done = subprocess.run(
        [installed / "tirgen", "--help"], check=True, capture_output=True, text=True, cwd="/"
    )
    assert "tirgen demo" in done.stdout


def test_generating_needs_no_torch(installed: Path) -> None:
    probe = (
        "import sys, importlib.util as u; import flows.cli, tirgen.jobs.generate; "
        "assert u.find_spec('torch') is None; print('ok')"
    )
    done = subprocess.run(
        [installed / "python", "-c", probe], check=True, capture_output=True, text=True, cwd="/"
    )
    assert done.stdout == "ok\n"


def test_evaluating_and_reporting_need_no_torch(installed: Path, tmp_path: Path) -> None:
    find: list[str | Path] = [
        installed / "python",
        "-c",
        "from tirgen.embedded.models import MODEL_DIR as m; print(m)",
    ]
    found = subprocess.run(find, check=True, capture_output=True, text=True, cwd="/")
    model = found.stdout.strip()
    asked: list[str | Path] = [
        "eval",
        model,
        "--bench",
        "pocket:test",
        "--limit",
        "2",
        "--store",
        tmp_path,
        "--json",
    ]
    subprocess.run([installed / "tirgen", *asked], check=True, capture_output=True, cwd="/")
    report: list[str | Path] = ["report", "--store", tmp_path, "-o", tmp_path / "report.html"]
    subprocess.run([installed / "tirgen", *report], check=True, capture_output=True, cwd="/")
    assert "<svg" in (tmp_path / "report.html").read_text("utf-8")


def test_the_model_ships_with_the_package(installed: Path) -> None:
    probe = (
        "from tirgen.embedded.models import MODEL_DIR; "
        "print((MODEL_DIR / 'model.safetensors').stat().st_size)"
    )
    done = subprocess.run(
        [installed / "python", "-c", probe], check=True, capture_output=True, text=True, cwd="/"
    )
    assert 0 < int(done.stdout) <= 6_000_000
