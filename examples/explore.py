"""A marimo notebook that explores a dataset: yield, accuracy with and without tools, trajectories.

``marimo edit examples/explore.py -- --store store`` opens it in a browser,
``python examples/explore.py --store store`` only runs every cell.
"""

import marimo

app = marimo.App(width="medium", app_title="tirgen: explore a dataset")


@app.cell
def imports():
    from pathlib import Path

    import duckdb
    import marimo as mo
    import matplotlib.pyplot as plt

    from flows.page.trajectory import trajectory_page
    from storage.datasets import Store
    from storage.find import find_trajectory

    plt.rcParams["text.parse_math"] = False  # texts of the data are no formulas
    return Path, Store, duckdb, find_trajectory, mo, plt, trajectory_page


@app.cell
def open_store(Path, Store, duckdb, mo):
    store = Store(Path(mo.cli_args().get("store", "store")))
    if not (store.root / "tirgen.duckdb").exists():
        raise SystemExit(f"no dataset in {store.root.absolute()}: tirgen demo, or --store FOLDER")
    database = duckdb.connect(store.root / "tirgen.duckdb", read_only=True)

    def ask(sql, *values):
        """The rows of a query as dicts."""
        return database.sql(sql, params=values).to_arrow_table().to_pylist()

    return ask, store


@app.cell
def choose_dataset(ask, mo):
    names = [
        found["dataset"]
        for found in ask(
            "SELECT dataset FROM trajectories GROUP BY 1 ORDER BY max(created_at) DESC"
        )
    ]
    dataset = mo.ui.dropdown(names, value=names[0], label="dataset")
    mo.vstack([mo.md("# A dataset, seen through SQL"), dataset])
    return (dataset,)


@app.cell
def show_yield(ask, dataset, mo, plt):
    funnel = ask(
        "SELECT rule, dropped, kept FROM yields WHERE dataset = ? ORDER BY place", dataset.value
    )

    def draw_yield():
        figure, axes = plt.subplots(figsize=(8, 0.6 + 0.25 * len(funnel)), layout="constrained")
        axes.barh(
            [rule["rule"] for rule in funnel], [rule["kept"] for rule in funnel], label="kept"
        )
        axes.barh(
            [rule["rule"] for rule in funnel],
            [rule["dropped"] for rule in funnel],
            left=[rule["kept"] for rule in funnel],
            label="dropped by this rule",
        )
        axes.invert_yaxis()
        axes.set_xlabel("trajectories")
        axes.legend()
        return figure

    mo.vstack([mo.md("## Yield: what each filter rule left"), draw_yield()])
    return (funnel,)


@app.cell
def show_accuracy(ask, dataset, mo, plt):
    accuracy = ask(
        """SELECT coalesce(difficulty, 'none given') AS difficulty,
            CASE WHEN program = 'cot' THEN 'without tools' ELSE 'with tools' END AS tools,
            sum(judged)::BIGINT AS judged, sum(correct) / sum(judged) AS accuracy
        FROM accuracy WHERE dataset = ? GROUP BY ALL HAVING sum(judged) > 0 ORDER BY ALL""",
        dataset.value,
    )

    def draw_accuracy():
        levels = sorted({found["difficulty"] for found in accuracy})
        figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
        for shift, tools in ((-0.2, "without tools"), (0.2, "with tools")):
            shown = [found for found in accuracy if found["tools"] == tools]
            bars = axes.bar(
                [levels.index(found["difficulty"]) + shift for found in shown],
                [found["accuracy"] for found in shown],
                width=0.4,
                label=tools,
            )
            axes.bar_label(bars, [f"n = {found['judged']}" for found in shown], fontsize=8)
        axes.set_xticks(range(len(levels)), levels)
        axes.set_xlabel("difficulty")
        axes.set_ylabel("share of right answers")
        axes.set_ylim(0, 1.1)
        axes.legend()
        return figure

    mo.vstack([mo.md("## Accuracy by difficulty, with tools and without"), draw_accuracy()])
    return (accuracy,)


@app.cell
def choose_trajectory(ask, dataset, mo):
    trajectories = ask(
        """SELECT trajectory_id, correct, kept, n_calls, n_failed_calls, dropped_by
        FROM trajectories WHERE dataset = ?
        ORDER BY kept DESC, n_failed_calls DESC, n_calls DESC, trajectory_id LIMIT 50""",
        dataset.value,
    )
    chosen = mo.ui.dropdown(
        [found["trajectory_id"] for found in trajectories],
        value=trajectories[0]["trajectory_id"],
        label="trajectory",
    )
    mo.vstack(
        [mo.md("## One trajectory"), mo.ui.table(trajectories, selection=None, page_size=5), chosen]
    )
    return (chosen,)


@app.cell
def show_trajectory(chosen, find_trajectory, mo, store, trajectory_page):
    page = trajectory_page(find_trajectory(store, chosen.value))  # hostile text is inert in it
    mo.iframe(page, height="800px")
    return (page,)


if __name__ == "__main__":
    app.run()
