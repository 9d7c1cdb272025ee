"""Finds the files of a split in a Hugging Face datasets folder.

Two layouts are known: a repository as published (`data/train-00000-of-00002.parquet`,
`main/test-….parquet`, `train.jsonl`, `train/*.csv`), and what `save_to_disk` writes
(`dataset_info.json` beside Arrow files, `dataset_dict.json` above one folder per split).
Not covered: `configs` in a dataset card that map files to splits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tirgen.data.errors import ProblemsError
from tirgen.data.files import is_readable, known_endings
from tirgen.data.text_files import format_of, stem_of

METADATA = frozenset(
    {"dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json", "metadata.json"}
)
DEFAULT_SPLIT = "train"
"""Hugging Face's name for files that name no split."""
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}
_SHARD = re.compile(r"(?P<name>.+?)-\d{5}-of-\d{5}")


def split_files(folder: Path, split: str | None) -> list[Path]:
    """The files of one split, in the order of their shards.

    Raises `ProblemsError` where there are none, or where the choice is not clear.
    """
    splits = _by_split(folder)
    if not splits:
        raise ProblemsError(
            f"{folder} holds no data files ({known_endings()}); name a file or its folder"
        )
    names = ", ".join(sorted(splits))
    if split is None and len(splits) > 1:
        raise ProblemsError(f"{folder} holds several splits; choose one with --split: {names}")
    chosen = split or next(iter(splits))
    if chosen not in splits:
        raise ProblemsError(f"{folder} has no split {chosen!r}; choose one with --split: {names}")
    return _of_one_kind(folder, chosen, splits[chosen])


def _by_split(folder: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        if is_readable(path) and path.name not in METADATA and not hidden:
            splits[_split_of(path.relative_to(folder))].append(path)
    return dict(splits)


def _split_of(path: Path) -> str:
    """The split named by the file, else by the nearest folder."""
    shard = _SHARD.fullmatch(stem_of(path))
    for name in (shard["name"] if shard else stem_of(path), *reversed(path.parent.parts)):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    named = shard and shard["name"] != "data"
    return shard["name"] if shard and named else DEFAULT_SPLIT


def _of_one_kind(folder: Path, split: str, paths: list[Path]) -> list[Path]:
    """Check that the files have one format and one configuration. Raises `ProblemsError`."""
    for kind, values in (
        ("formats", {format_of(path) for path in paths}),
        ("configurations", {_configuration(path.relative_to(folder)) for path in paths}),
    ):
        if len(values) > 1:
            names = ", ".join(sorted(values))
            raise ProblemsError(
                f"{folder} holds split {split!r} in several {kind} ({names}); "
                "name the file or the folder you mean"
            )
    return paths


def _configuration(path: Path) -> str:
    """The folders above the file, except `data` and names of splits."""
    plain = [part for part in path.parent.parts if part not in {"data", *SPLIT_WORDS}]
    return "/".join(plain) or "."
