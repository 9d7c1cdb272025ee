"""Policy versions: immutable, named in order, never seen half."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import InvalidName, NotFound
from storage.policies import Policies, PolicyVersion


def write(folder: Path, content: str = "weights") -> None:
    (folder / "model.safetensors").write_text(content)
    (folder / "config.json").write_text("{}")


def publish(root: Path, config_hash: str = "c0ffee") -> PolicyVersion:
    described = {"config_hash": config_hash, "parent": "base", "dataset": "d@v1"}
    return Policies(root).publish("pi", write, described)


def test_versions_are_numbered_in_order(tmp_path: Path) -> None:
    assert [str(publish(tmp_path)) for _ in range(3)] == ["pi@v1", "pi@v2", "pi@v3"]
    assert [str(version) for version in Policies(tmp_path).versions("pi")] == [
        "pi@v1", "pi@v2", "pi@v3",
    ]  # fmt: skip


def test_the_manifest_says_where_a_policy_came_from(tmp_path: Path) -> None:
    manifest = publish(tmp_path).manifest
    assert (manifest["parent"], manifest["dataset"]) == ("base", "d@v1")
    assert sorted(manifest["files"]) == ["config.json", "model.safetensors"]


def test_a_name_finds_the_newest_and_a_version_itself(tmp_path: Path) -> None:
    publish(tmp_path), publish(tmp_path)
    policies = Policies(tmp_path)
    assert policies.version("pi").version == "v2"
    assert policies.version("pi@v1").version == "v1"
    assert [str(found) for found in policies.all()] == ["pi@v1", "pi@v2"]
    assert (tmp_path / "policies" / "pi" / "latest").resolve() == policies.version("pi").path


def test_a_run_finds_what_it_published(tmp_path: Path) -> None:
    publish(tmp_path, "one"), publish(tmp_path, "two")
    policies = Policies(tmp_path)
    assert str(policies.made_by("pi", "one")) == "pi@v1"
    assert policies.made_by("pi", "three") is None


def test_what_is_missing_is_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no policy 'pi'"):
        Policies(tmp_path).version("pi")
    publish(tmp_path)
    with pytest.raises(NotFound, match=r"'v9'.*v1"):
        Policies(tmp_path).version("pi@v9")


def test_a_name_cannot_leave_the_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        Policies(tmp_path).versions("../elsewhere")


def test_a_writer_that_fails_publishes_nothing(tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        write(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Policies(tmp_path).publish("pi", breaks, {})
    assert Policies(tmp_path).versions("pi") == []


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    version = publish(tmp_path)
    assert version.damaged_files() == []
    write(version.path, "other")
    assert version.damaged_files() == [version.path / "model.safetensors"]


def test_publishers_at_once_take_different_numbers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(publish, [tmp_path] * 6))
    assert sorted(str(version) for version in found) == [f"pi@v{n}" for n in range(1, 7)]
    assert (tmp_path / "policies" / "pi" / "latest").readlink() == Path("versions/v6")
