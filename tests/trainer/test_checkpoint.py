"""Checkpoints hold tensors and JSON, run nobody's code, and are taken away when of no more use."""

import json
import pickle
from pathlib import Path

import pytest

from storage.datasets import Store
from storage.errors import InvalidName
from storage.policies import Policies, PolicyVersion
from tests.trainer.tiny_policy import publish, round_rows
from trainer import checkpoint
from trainer.checkpoint import INDEX, DamagedCheckpoint
from trainer.distributed import World
from trainer.rl import train_rl
from trainer.run import CHECKPOINTS
from trainer.settings import Names, OptimizerConfig, RlConfig

CONFIG = RlConfig(optimizer=OptimizerConfig(learning_rate=1e-3), updates=3, checkpoint_every=1)


@pytest.fixture
def names(policy: Path, store: Store) -> Names:
    dataset = publish(store, round_rows(policy, groups=3, step_groups=1))
    return Names(store=store.root, policy="pi", parent=str(policy), dataset=str(dataset))


def checkpoints(version: PolicyVersion, store: Path) -> list[Path]:
    work = Policies(store).work(version.policy, version.manifest["config_hash"])
    return sorted((work / CHECKPOINTS).glob("*"))


@pytest.fixture
def killed(names: Names, world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest checkpoint of a run that was killed after its second update."""
    save = checkpoint.save

    def dies(folder: Path, steps: int, *arguments: object) -> None:
        save(folder, steps, *arguments)  # type: ignore[arg-type]
        if steps == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            train_rl(names, CONFIG, world)
    [path] = (names.store / "policies" / "pi" / "work").glob("*/checkpoints/step-*")
    return path


def test_a_checkpoint_is_tensors_and_json(killed: Path) -> None:
    assert {file.suffix for file in killed.iterdir()} == {".safetensors", ".json"}
    assert not [file for file in killed.iterdir() if file.read_bytes()[:1] == pickle.PROTO]


class _Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_code_in_a_checkpoint_does_not_run(
    killed: Path, names: Names, world: World, tmp_path: Path
) -> None:
    """torch's own reader unpickles `.metadata`, wherever it came from."""
    target = tmp_path / "ran"
    for name in (".metadata", "checkpoint.pt", "optimizer.bin"):
        (killed / name).write_bytes(pickle.dumps(_Hostile(target)))
    train_rl(names, CONFIG, world)
    assert not target.exists()


def test_pickled_weights_of_a_parent_are_not_read(
    policy: Path, names: Names, world: World, tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / "config.json").write_bytes((policy / "config.json").read_bytes())
    (parent / "pytorch_model.bin").write_bytes(pickle.dumps(_Hostile(tmp_path / "ran")))
    with pytest.raises(OSError, match="safetensors"):
        train_rl(names.model_copy(update={"parent": str(parent)}), CONFIG, world)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("harm", ["flip", "remove", "add", "index"])
def test_a_changed_checkpoint_is_refused_before_it_is_read(
    killed: Path, names: Names, world: World, harm: str
) -> None:
    [shard] = killed.glob("*.safetensors")
    if harm == "flip":
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    elif harm == "remove":
        shard.unlink()
    elif harm == "add":
        (killed / "other.safetensors").write_bytes(shard.read_bytes())
    else:
        (killed / INDEX).write_text("{")
    with pytest.raises(DamagedCheckpoint, match=r"damaged.*Remove the folder"):
        train_rl(names, CONFIG, world)


def test_no_configuration_hash_leads_out_of_the_store(store: Store) -> None:
    for name in ("../../../../etc", "/etc", "", "a/b", ".."):
        with pytest.raises(InvalidName):
            Policies(store.root).work("pi", name)


def test_a_published_round_keeps_its_moments_for_the_next_and_no_longer(
    names: Names, store: Store, world: World
) -> None:
    """98 GB a round for eight billion parameters: what was carried over is of no more use."""
    first = train_rl(names, CONFIG, world)
    assert [path.name for path in checkpoints(first, store.root)] == ["step-00000003"]
    dataset = publish(store, round_rows(first.path, groups=3, step_groups=1, seed=5))
    onwards = names.model_copy(update={"parent": str(first), "dataset": str(dataset)})
    second = train_rl(onwards, CONFIG, world)
    assert checkpoints(first, store.root) == []
    assert [path.name for path in checkpoints(second, store.root)] == ["step-00000003"]


def test_more_rounds_keep_theirs_where_asked(names: Names, store: Store, world: World) -> None:
    config = CONFIG.model_copy(update={"keep_moments": 2})
    first = train_rl(names, config, world)
    second = train_rl(names, config.model_copy(update={"seed": 1}), world)
    assert checkpoints(first, store.root)
    assert checkpoints(second, store.root)


def test_a_run_without_a_next_round_keeps_nothing(names: Names, store: Store, world: World) -> None:
    version = train_rl(names, CONFIG.model_copy(update={"keep_moments": 0}), world)
    assert checkpoints(version, store.root) == []


@pytest.mark.parametrize(("every", "kept", "left"), [(1, 1, [2]), (1, 2, [1, 2]), (2, 1, [2])])
def test_interval_and_number_are_settings(
    names: Names,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
    kept: int,
    left: list[int],
) -> None:
    seen: list[list[int]] = []
    save = checkpoint.save

    def watched(folder: Path, *arguments: object) -> None:
        save(folder, *arguments)  # type: ignore[arg-type]
        seen.append(sorted(json.loads((p / INDEX).read_text())["steps"] for p in folder.glob("s*")))

    monkeypatch.setattr(checkpoint, "save", watched)
    update = {"checkpoint_every": every, "keep_checkpoints": kept}
    train_rl(names, CONFIG.model_copy(update=update), world)
    assert [steps for steps in seen if steps[-1] == 2] == [left]
    assert seen[-1][-1] == 3
