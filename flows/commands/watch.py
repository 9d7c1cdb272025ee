"""``tirgen watch``: a run or a training while it works, read from the store alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.live import Live

from flows.commands.options import DEFAULT_STORE, Flag, Json, StorePath, read_store
from flows.live.screen import duration, one_line, screen
from flows.live.state import RunState, Watcher
from flows.live.work import every_work, find_work, latest_work
from flows.terminal.console import print_json, say, show, stdout
from flows.terminal.failures import WORK_FAILED
from flows.terminal.progress import SECONDS_BETWEEN_LINES
from flows.terminal.tables import show_rows
from storage.datasets import Store

SECONDS_BETWEEN_LOOKS = 1.0


def watch_command(
    run: str = "",
    /,
    *,
    latest: Flag = False,
    once: Flag = False,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Watch a run or a training from any terminal that sees the store, until it ends.

    Shows pace, outcomes, load of engine and sandbox, cost, time left and the last trajectories.
    Reads the store only, so it works while the process is elsewhere, and after it was killed. A run
    that stopped unfinished is shown with the command that continues it, and the exit code is 1.
    Without a name, lists what can be watched.

    Examples of use:

        tirgen watch --latest

        tirgen watch demo --once --json

    Parameters
    ----------
    run
        A dataset or a policy, whose last run or training is watched, or the name of one, or the
        beginning of it.
    latest
        Watch what was worked on last.
    once
        Show the present state and stop.
    json
        Print one JSON object a second, each on a line; with --once a single one.
    """
    opened = read_store(store)
    if not run and not latest:
        _list(opened, json=json)
        return
    watcher = Watcher(opened, find_work(opened, run) if run else latest_work(opened))
    if once:
        state = watcher.look()
        print_json(state.document()) if json else show(screen(state))
    elif json:
        state = _follow(watcher, _print_line)
    elif stdout.is_terminal:
        with Live(console=stdout, auto_refresh=False) as live:
            state = _follow(watcher, lambda state: live.update(screen(state), refresh=True))
    else:
        state = _follow(watcher, _say_now_and_then())
        show(screen(state))
    if state.status == "stopped":
        sys.exit(WORK_FAILED)


def _follow(watcher: Watcher, show_state: Callable[[RunState], None]) -> RunState:
    """Show the state once a second until no process works on it; returns the last state."""
    while True:
        state = watcher.look()
        show_state(state)
        if state.status != "running":
            return state
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _print_line(state: RunState) -> None:
    print_json(state.document())
    sys.stdout.flush()


def _say_now_and_then() -> Callable[[RunState], None]:
    said = -SECONDS_BETWEEN_LINES

    def tell(state: RunState) -> None:
        nonlocal said
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(one_line(state))

    return tell


def _list(store: Store, *, json: bool) -> None:
    """What there is, most recently active first."""
    rows = [
        {
            "run": work.name,
            "kind": work.kind,
            "published": str(work.published(store) or "") or None,
            "held_by": ", ".join(map(str, work.holders())) or None,
            "changed_seconds": round(max(0.0, time.time() - work.changed), 1),
        }
        for work in every_work(store)
    ]
    if json:
        print_json(rows)
        return
    if not rows:
        say("nothing was run yet; begin with: tirgen demo")
        return
    for row in rows:
        row["changed"] = f"{duration(float(str(row.pop('changed_seconds'))))} ago"
        row["held by"] = row.pop("held_by")
    show_rows(rows, expendable=("held by",))
    say("watch one: tirgen watch RUN, or the one worked on last: tirgen watch --latest")
