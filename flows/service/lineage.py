"""The artifact that shows the lineage of a dataset version or a policy."""

from __future__ import annotations

from prefect.artifacts import acreate_table_artifact

from storage.datasets import Store
from storage.lineage import Edge, ancestors, descendants, edges
from storage.policies import Policies, PolicyVersion
from storage.versions import DatasetVersion


def edges_of(store: Store) -> list[Edge]:
    """Every edge in the store's manifests."""
    datasets = [v for latest in store.datasets() for v in store.versions(latest.dataset)]
    return edges(datasets, Policies(store.root).all())


async def show_lineage(store: Store, version: DatasetVersion | PolicyVersion) -> None:
    """Write the artifact of one version; each run that uses the version writes it again."""
    known, name = edges_of(store), str(version)
    kind = "policy-lineage" if isinstance(version, PolicyVersion) else "lineage"
    rows = [{"way": "made from", **edge._asdict()} for edge in ancestors(known, name)]
    rows += [{"way": "led to", **edge._asdict()} for edge in descendants(known, name)]
    key = f"{artifact_key(name.partition('@')[0])}-{kind}"
    await acreate_table_artifact(
        rows, key=key, description=f"What {name} was made from, and what was made from it"
    )


def artifact_key(name: str) -> str:
    """A name with only the characters that Prefect allows."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
