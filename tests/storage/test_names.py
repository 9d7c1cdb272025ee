"""A model's folder is recorded so that the record means the same on every machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from storage.names import EDGE, portable_name


def model(folder: Path, weights: bytes = b"w") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_a_folder_in_the_store_is_named_by_its_place_in_it(tmp_path: Path) -> None:
    folder = model(tmp_path / "store" / "work" / "pi")
    assert portable_name(folder, tmp_path / "store") == "work/pi"


def test_a_copy_elsewhere_has_the_same_name_and_no_path(tmp_path: Path) -> None:
    one = model(tmp_path / "a" / "Qwen" / "Qwen3")
    other = Path(shutil.copytree(one, tmp_path / "b" / "Qwen" / "Qwen3"))
    name = portable_name(one, tmp_path / "store")
    assert name.startswith("Qwen/Qwen3#")
    assert portable_name(other, tmp_path / "store") == name


def test_other_weights_of_the_same_size_are_another_model(tmp_path: Path) -> None:
    names = {
        portable_name(model(tmp_path / str(n) / "m" / "m", weights), tmp_path / "store")
        for n, weights in enumerate(
            [b"a" * 4 * EDGE, b"b" * 4 * EDGE, b"a" * (4 * EDGE - 1) + b"b"]
        )
    }
    assert len(names) == 3
