"""`tirgen dataset push` and `pull`, as commands against a stand-in of the Hub's HTTP API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.datasets import Store
from storage.records import FilterVerdict, Step
from storage.versions import publish_verdicts
from tests.flows.commands.hub_server import TOKEN, Hub, hub
from tests.rows import row


@pytest.fixture
def served() -> Iterator[Hub]:
    with hub() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    rows = [replace(row(f"p{n}", kept=n % 2 == 0), steps=(Step(thought="t"),)) for n in range(6)]
    made = Store(tmp_path / "store")
    made.open_run("d", {}, "h").publish(rows, {"problems": 6, "yield": []})
    return made


def call(
    served: Hub, store: Path, *words: str, token: str = TOKEN
) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document of stdout, and everything that was said."""
    home = store.parent / "hf"
    environment = {
        **os.environ, "HF_ENDPOINT": served.url, "HF_TOKEN": token, "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1", "NO_COLOR": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "flows", "dataset", *words, "--store", str(store), "--json"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    document = json.loads(done.stdout) if done.stdout else {}
    return done.returncode, document, done.stdout + done.stderr


def test_a_pushed_version_is_pulled_again_row_by_row(
    served: Hub, store: Store, tmp_path: Path
) -> None:
    code, pushed, said = call(served, store.root, "push", "d", "me/numbers", "--validation", "0.5")
    assert code == 0, said
    files = served.repositories["me/numbers"]
    assert {"README.md", "tirgen/manifest.json", "tirgen/part-00000.parquet"} < set(files)
    assert b"d@v1" in files["README.md"]
    assert served.private == {"me/numbers": True}
    assert set(served.uploads) == {"regular", "lfs"}
    code, pulled, said = call(served, tmp_path / "other", "pull", "me/numbers")
    assert code == 0, said
    assert (pulled["version"], pulled["rows"]) == ("d@v1", 6)
    assert pulled["from"] == f"me/numbers@{pushed['commit']}"
    there, here = Store(tmp_path / "other").version("d"), store.version("d")
    assert list(there.read()) == list(here.read())
    assert there.manifest["pulled_from"] == pulled["from"]
    assert there.damaged_files() == []
    code, again, said = call(served, tmp_path / "other", "pull", "me/numbers")
    assert (code, again["version"]) == (0, "d@v1")
    assert "found d@v1" in said
    code, renamed, _ = call(served, tmp_path / "other", "pull", "me/numbers", "--dataset", "mine")
    assert renamed["version"] == "mine@v1"
    assert {one.dataset for one in Store(tmp_path / "other").version("mine").read()} == {"mine"}


def test_verdicts_that_lie_beside_their_rows_come_along(
    served: Hub, store: Store, tmp_path: Path
) -> None:
    first = store.version("d")
    dropped = (FilterVerdict(rule="later", kept=False, reason="no"),)
    about = {key: first.manifest[key] for key in ("run_id", "config_hash", "config", "summary")}
    found = (replace(one, filters=dropped) for one in first.found())
    curated = publish_verdicts(first, found, lambda: {**about, "made_from": str(first)})
    assert call(served, store.root, "push", "d@v2", "me/curated", "--format", "steps")[0] == 0
    code, pulled, said = call(served, tmp_path / "other", "pull", "me/curated")
    assert code == 0, said
    there = Store(tmp_path / "other").version(pulled["version"])
    assert list(there.read()) == list(curated.read())
    assert there.manifest["kept_rows"] == 0
    assert "made_from" not in there.manifest, "that version is not here"


def test_another_version_replaces_the_files(served: Hub, store: Store) -> None:
    call(served, store.root, "push", "d", "me/numbers", "--public", "--validation", "0.5")
    assert "data/validation-00000.parquet" in served.repositories["me/numbers"]
    assert call(served, store.root, "push", "d@v1", "me/numbers", "--format", "messages")[0] == 0
    files = served.repositories["me/numbers"]
    assert "data/validation-00000.parquet" not in files
    assert served.private == {"me/numbers": False}
    path = store.root / "train.parquet"
    path.write_bytes(files["data/train-00000.parquet"])
    assert pq.read_metadata(path).num_rows == 3


def test_the_token_is_sent_and_nowhere_written(served: Hub, store: Store, tmp_path: Path) -> None:
    _, _, said = call(served, store.root, "push", "d", "me/numbers")
    assert TOKEN not in said
    code, _, said = call(served, store.root, "push", "d", "me/other", token="hf_wrong_token")
    assert code == 1
    assert "401" in said
    assert "hf_wrong_token" not in said
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert TOKEN.encode() not in content, path
        assert b"hf_wrong_token" not in content, path


def test_changed_files_and_foreign_repositories_are_refused(
    served: Hub, store: Store, tmp_path: Path
) -> None:
    call(served, store.root, "push", "d", "me/numbers")
    files = served.repositories["me/numbers"]
    part = files["tirgen/part-00000.parquet"]
    files["tirgen/part-00000.parquet"] = part[:-9] + b"x" + part[-8:]
    code, told, _ = call(served, tmp_path / "other", "pull", "me/numbers")
    assert (code, told["error"]["kind"]) == (1, "damaged")
    manifest = json.loads(files["tirgen/manifest.json"]) | {"name": "../../evil"}
    files["tirgen/manifest.json"] = json.dumps(manifest).encode()
    code, told, _ = call(served, tmp_path / "other", "pull", "me/numbers")
    assert (code, told["error"]["kind"]) == (1, "damaged")
    served.repositories["me/foreign"] = {"data.csv": b"a"}
    code, told, _ = call(served, tmp_path / "other", "pull", "me/foreign")
    assert (code, told["error"]["kind"]) == (3, "not_found")
    code, told, _ = call(served, tmp_path / "other", "pull", "me/absent")
    assert (code, told["error"]["kind"]) == (1, "hub")
    code, told, _ = call(served, tmp_path / "other", "pull", "no such name")
    assert (code, told["error"]["kind"]) == (1, "hub")
    assert not (tmp_path / "other").exists()
