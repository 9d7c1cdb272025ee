"""The artifact that shows the lineage of a dataset version or a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prefect.artifacts import acreate_markdown_artifact

from flows.service.markdown import fenced, plain
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
    name = str(version)
    kind = "policy-lineage" if isinstance(version, PolicyVersion) else "lineage"
    key = f"{artifact_key(name.partition('@')[0])}-{kind}"
    await acreate_markdown_artifact(
        lineage_page(edges_of(store), name),
        key=key,
        description=f"What {name} was made from, and what was made from it",
    )


def lineage_page(known: Sequence[Edge], name: str) -> str:
    """Two trees: what a version was made from, and what was made from it."""
    before = list(_tree(ancestors(known, name), name, _source, set()))
    after = list(_tree(descendants(known, name), name, _product, set()))
    made_from = fenced("\n".join([name, *before])) if before else "*nothing known*"
    led_to = fenced("\n".join([name, *after])) if after else "*nothing yet*"
    return f"# {name}\n\n## Made from\n\n{made_from}\n\n## Led to\n\n{led_to}"


def _source(edge: Edge, name: str) -> str | None:
    return edge.source if edge.product == name else None


def _product(edge: Edge, name: str) -> str | None:
    return edge.product if edge.source == name else None


def _tree(
    known: Sequence[Edge],
    name: str,
    other: Callable[[Edge, str], str | None],
    drawn: set[str],
    indent: str = "",
) -> Iterator[str]:
    """A line for each edge of `name`, and below it those of its other end.

    A version is drawn once with what is below it: a policy of 20 rounds has 2^20 ways to its start.
    """
    drawn.add(name)
    found = [(edge.how, end) for edge in dict.fromkeys(known) if (end := other(edge, name))]
    for number, (how, end) in enumerate(found, 1):
        last = number == len(found)
        again = end in drawn and any(other(edge, end) for edge in known)
        yield f"{indent}{'└─' if last else '├─'} {plain(end)} ({how}){' …' if again else ''}"
        if not again:
            yield from _tree(known, end, other, drawn, indent + ("   " if last else "│  "))


def artifact_key(name: str) -> str:
    """A name with only the characters that Prefect allows."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
