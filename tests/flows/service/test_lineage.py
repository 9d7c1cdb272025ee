from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.service.lineage import artifact_key, edges_of, lineage_page
from storage.datasets import Store
from storage.lineage import Edge, ancestors, descendants
from storage.policies import Policies, PolicyVersion
from storage.versions import DatasetVersion
from tests.rows import row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two turns of the wheel: generate, fine-tune, sample, reinforce; generate with the result."""
    made = Store(tmp_path)
    pocket = {"kind": "embedded", "model": "pocket"}
    publish_dataset(made, "lesson", {"actor": pocket, "critic": pocket})
    publish_policy(made, "sft", "/models/pocket", "lesson@v1")
    publish_dataset(made, "rollouts", {"policy_version": "pupil@v1"})
    reinforced = publish_policy(made, "rl", "pupil@v1", "rollouts@v1")
    taught = {"kind": "embedded", "model": str(reinforced.path)}
    publish_dataset(made, "second", {"actor": taught, "critic": pocket})
    return made


def publish_dataset(store: Store, name: str, config: dict[str, Any]) -> DatasetVersion:
    return store.open_run(name, config, "c0ffee").publish([row()], {})


def publish_policy(store: Store, kind: str, parent: str, dataset: str) -> PolicyVersion:
    described = {"kind": kind, "config_hash": kind, "parent": parent, "dataset": dataset}
    return Policies(store.root).publish("pupil", lambda folder: None, described)


def test_a_policy_leads_back_to_the_first_dataset_and_its_models(store: Store) -> None:
    found = ancestors(edges_of(store), "pupil@v2")
    assert [edge.source for edge in found] == [
        "pupil@v1", "rollouts@v1", "/models/pocket", "lesson@v1", "pupil@v1", "pocket", "pocket",
    ]  # fmt: skip


def test_a_dataset_leads_on_to_every_policy_and_dataset_after_it(store: Store) -> None:
    found = descendants(edges_of(store), "lesson@v1")
    assert [edge.product for edge in found] == [
        "pupil@v1",
        "rollouts@v1",
        "pupil@v2",
        "pupil@v2",
        "second@v1",
    ]


def test_a_policy_that_an_engine_loads_by_its_folder_is_known_by_its_name(store: Store) -> None:
    assert Edge("second@v1", "made with actor", "pupil@v2") in edges_of(store)


def test_the_page_shows_both_ways_as_trees(store: Store) -> None:
    page = lineage_page(edges_of(store), "pupil@v1")
    made_from = """pupil@v1
├─ /models/pocket (sft, parent)
└─ lesson@v1 (sft, trained on)
   ├─ pocket (made with actor)
   └─ pocket (made with critic)"""
    led_to = """pupil@v1
├─ rollouts@v1 (sampled from)
│  └─ pupil@v2 (rl, trained on)
│     └─ second@v1 (made with actor)
└─ pupil@v2 (rl, parent) …"""
    assert made_from in page
    assert led_to in page
    assert "*nothing yet*" in lineage_page(edges_of(store), "second@v1")


def test_a_tree_of_many_rounds_has_a_line_for_each_edge() -> None:
    """Each round has its parent as a parent and through its rollouts: two ways, 2^30 over all."""
    rounds = range(1, 31)
    known = [
        edge
        for n in rounds
        for edge in (
            Edge(f"pi@v{n + 1}", "rl, parent", f"pi@v{n}"),
            Edge(f"rollouts@v{n}", "sampled from", f"pi@v{n}"),
            Edge(f"pi@v{n + 1}", "rl, trained on", f"rollouts@v{n}"),
        )
    ]
    assert lineage_page(known, "pi@v31").count("─ ") == len(known)


def test_what_nothing_came_of_leads_nowhere(store: Store) -> None:
    assert descendants(edges_of(store), "second@v1") == []


@pytest.mark.parametrize(
    ("name", "key"), [("Math_TIR@v3", "math-tir-v3"), ("a.b", "a-b"), ("tir", "tir")]
)
def test_every_name_has_a_key_that_prefect_takes(name: str, key: str) -> None:
    assert artifact_key(name) == key
