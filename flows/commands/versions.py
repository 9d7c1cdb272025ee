"""``tirgen dataset diff``, ``tag`` and ``gc``: what versions there are, and how they differ."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter, validators

from flows.commands.options import (
    DEFAULT_STORE,
    AtLeastOne,
    Flag,
    Json,
    StorePath,
    open_store,
    read_store,
)
from flows.terminal.console import print_json, say
from flows.terminal.tables import shortened, show_rows
from storage.difference import difference
from storage.retention import Fate, fates, freed, remove, remove_leftovers

LONGEST_REASON = 60
"""Characters of a reason in a list for people."""


def diff_command(
    before: str,
    after: str,
    /,
    *,
    limit: Annotated[AtLeastOne, Parameter(name=["--limit", "-n"])] = 20,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Compare two versions: rows gained and lost, yield by rule, figures, changed verdicts.

    In SQL: compare('A', 'B'), compare_yields, diff and diff_problems.

    Examples of use:

        tirgen dataset diff demo@v1 demo@v2

        tirgen dataset diff demo@gold demo --json --limit 1000

    Parameters
    ----------
    before
        A dataset for its latest version, or one version as NAME@vN or NAME@TAG.
    after
        The version that it is compared with.
    limit
        Number of listed trajectories and problems, at most; counts and figures are of all.
    """
    found = difference(read_store(store), before, after, limit)
    if json:
        names = {"before": str(found.before), "after": str(found.after)}
        print_json({**found._asdict(), **names})
        return
    title = f"{found.before} and {found.after}"
    show_rows(found.figures, f"Figures of {title}")
    show_rows(found.yields, f"Yield of {title}")
    if not found.counts:
        say("no trajectory differs")
        return
    show_rows(found.counts, "Trajectories that differ")
    show_rows([_changed(row) for row in found.trajectories], f"Of them, up to {limit}", SPARED)
    if found.problems:
        short = [{**row, "question": _short(row["question"])} for row in found.problems]
        show_rows(short, f"Problems with kept trajectories in only one version, up to {limit}")


SPARED = ("problem", "reason before", "kept")
"""Columns of changed trajectories that a narrow terminal leaves out, in this order."""


def _changed(row: dict[str, Any]) -> dict[str, Any]:
    """One changed trajectory for people: what holds before and after, and why."""
    by_verdict = row["change"] == "verdict"
    before, after = (
        row[f"reason_{when}"] if by_verdict else row[f"dropped_{when}"] or row[f"reason_{when}"]
        for when in ("before", "after")
    )
    return {
        "trajectory": row["trajectory_id"],
        "problem": row["problem_id"],
        "change": row["change"],
        "correct": f"{_word(row['correct_before'])} → {_word(row['correct_after'])}",
        "kept": f"{_word(row['kept_before'])} → {_word(row['kept_after'])}",
        "reason before": _short(before),
        "reason after": _short(after),
    }


def _word(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "–"}[value]


def _short(text: str | None) -> str:
    return shortened(text or "", LONGEST_REASON)


def tag_command(
    name: str,
    tag: str,
    /,
    *,
    move: Flag = False,
    remove: Flag = False,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Give a version a name of your own, which every command takes as NAME@TAG.

    `tirgen dataset gc` never removes a tagged version.

    Examples of use:

        tirgen dataset tag demo@v3 gold

        tirgen dataset tag demo gold --remove

    Parameters
    ----------
    name
        The version as NAME@vN, or the dataset for its latest version.
    tag
        The tag: letters, digits, dot, dash and underscore.
    move
        Let the tag name this version if it names another one now.
    remove
        Remove the tag; no version is touched.
    """
    opened = open_store(store)
    if remove:
        dataset = name.partition("@")[0]
        opened.untag(dataset, tag)
        document: dict[str, Any] = {"dataset": dataset, "tag": tag, "version": None}
        line = f"{dataset}@{tag} names nothing any more"
    else:
        version = opened.tag(name, tag, move=move)
        document = {"dataset": version.dataset, "tag": tag, "version": version.version}
        line = f"{version.dataset}@{tag} names {version}"
    if json:
        print_json(document)
    else:
        say(line)


def gc_command(
    name: str = "",
    /,
    *,
    keep: AtLeastOne = 3,
    days: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 30.0,
    dry_run: Flag = False,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Remove old versions that nothing needs; show why each other version stays.

    A version stays while a policy was or is being trained on it, an evaluation has its figures
    from it, a tag names it, a process uses it, or a job works on its run. Rows of runs stay, so
    that a run can be continued.

    Examples of use:

        tirgen dataset gc --dry-run

        tirgen dataset gc demo --keep 1 --days 7

    Parameters
    ----------
    name
        The dataset; by default every dataset of the store.
    keep
        Number of the newest versions of each dataset that stay.
    days
        Younger versions stay.
    dry_run
        Show what would be removed, and remove nothing.
    """
    opened = open_store(store)
    found = fates(opened, name, keep, days)
    if not dry_run:
        found = remove(opened, found)
        remove_leftovers(opened)
    if json:
        print_json({"dry_run": dry_run, "versions": [_fate(fate) for fate in found]})
        return
    if found:
        show_rows([_fate(fate) for fate in found], expendable=("bytes", "created"))
    gone, verb = [fate for fate in found if fate.stays is None], "removed"
    if dry_run:
        verb = "nothing was removed; would remove"
    say(f"{verb} {len(gone)} of {len(found)} versions, {freed(found):,} bytes")


def _fate(fate: Fate) -> dict[str, Any]:
    version = fate.version
    damaged = fate.stays is not None and fate.stays.startswith("damaged")
    return {
        "version": str(version),
        "created": None if damaged else version.manifest["created_at"],
        "removed": fate.stays is None,
        "bytes": fate.size,
        "stays because": fate.stays,
    }
