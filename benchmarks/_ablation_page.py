"""The page docs/ablation.md, written from docs/results/ablation.json only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from benchmarks._compare import sentence
from benchmarks._headroom import HELD_OUT, LIMITS, RETRIES

HEAD = """\
# The ablation, on a pocket with headroom

{verdict}

What each part of the method adds. Written by `python -m benchmarks ablation` on {date}: {problems}
held-out problems, {seeds} seeds, {minutes} minutes ({cpu_minutes} CPU-minutes) on
{machine}{resumed}.{note}

The figures are in [results/ablation.json](results/ablation.json), every sample is in
`test-output/ablation`. The model has a million parameters: this proves the machinery, not the
science. Settings were chosen on other problems ([experiments](experiments.md)).

| stage | | accuracy | programs that ran | used code | tokens a sample |
|---|---|---|---|---|---|
"""
BETWEEN = """
![Accuracy and programs that ran, by stage](images/ablation.svg)

A sample is one answer at temperature 0.6. Brackets: 95 % bootstrap intervals over seeds and
problems, each drawn by itself. BoN pays for all candidates. T5 continues from T4; T4+ is its
control, with as many rounds on the same problems without branches. Both levels share one token mean
(`step_weight = 1`). The settings are in `benchmarks/ablation.toml`.

## What was expected, and what came

Paired differences over the same seeds and problems. The paper's figures are those of its Table 3
for 7B. A difference is clear where its whole interval is above the margin.

"""
POWER = """
**Power.** The difference T5 - T4+ in accuracy has a standard error of {error:.1f} points over
{seeds} seeds and {problems} problems. A true difference of {detectable:.1f} points would be clear
of zero in four of five such experiments. By the seeds alone, whatever the problems, a mean as far
from zero has the exact probability p = {chance:.3f} if the sign of every difference is chance.

| seed | T5 - T4+ in accuracy | in programs that ran |
|---|---|---|
"""
BY_FAILURE = """
**What a failed program costs.** T5 has {fewer:.1f} points fewer answers with a failed program than
T4+. Had these been right as often as the answers of T4+ in which all programs ran, instead of those
in which some failed, T5 would be {gain:+.1f} points of accuracy better; it is {found:+.1f}.{why}

| stage | answers with a failed program | right of these | right where all ran |
|---|---|---|---|
"""
COT = """
**Why T2 - T1 is not the paper's +16.7.** A base model of 7B has the skill to solve many of the
problems by chain of thought, and RL brings it out. The pocket cannot multiply without a tool at any
reward: of {groups} groups of eight answers only {mixed} ({share:.0f} %) had both right and wrong
ones. There is little to bring out, so the claim of the benchmark leaves T2 out.
"""
FAMILIES = """
## Families that were never trained on

A third of the problem families ({names}) is in no cold start and in no round of RL, only in the
pretraining of the model. The others are evaluated on new numbers.

| stage | accuracy, families trained on | held out | programs that ran, trained on | held out |
|---|---|---|---|---|
"""
PLANTED = """
## What was planted

The packaged pocket fails in one program of twenty, so step-level RL had next to nothing to win (the
ablation of 2026-11-21: +0.7 points of accuracy, not clear of zero). `benchmarks/_headroom.py`
trains it on for some CPU-minutes on {tokens:,} tokens ({samples:,} conversations), in which
programs have mistakes. A mistake is a habit of a program's form (the program without its numbers):
a form is known well or badly, and has one usual mistake. Outputs are what the sandbox printed.
After a failed program the answer goes on: with another program ({retries:.0f} %), or with a guessed
value. So the frequency and the causes of failures are planted, and that the policy can go on after
them; what a failure costs, and what either level of RL makes of it, is not.

| programs of the corpus | failed | ran |
|---|---|---|
"""
TOOLS = """
## Does failing code mean a wrong answer?

Of the {answers} answers of T3 that ran code, {all_ran:.1f} % are right where all of it ran and
{failed:.1f} % where some failed. The paper's Table 4 has 71.8 % and 30.4 %. Chi-square {chi:.1f}
with one degree of freedom, p = {p:.1e}; the paper has 336.294, p = 4.09e-75
(`tirgen.evaluation.tool_statistic`).
"""


def page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    resumed = ", not counting an earlier call that was interrupted" if found["resumed"] else ""
    note = f" {found['note']}" if found["note"] else ""
    parts = [
        HEAD.format(**{**found, "resumed": resumed, "note": note}, verdict=_verdict(found)),
        *map(_row, found["stages"]),
        BETWEEN,
        *(f"- {sentence(each)}\n" for each in found["expectations"]),
        *_power(found),
        *_by_failure(found),
        *_cot(found["rounds"]["cot"]),
        *_families(found["families"]),
        *_planted(found["planted"]),
        _tools(found["tool_statistic"]),
    ]
    return "".join(parts)


def _of(found: Mapping[str, Any], later: str, earlier: str, figure: str) -> Mapping[str, Any]:
    one: Mapping[str, Any]
    [one] = [
        each
        for each in found["expectations"]
        if (each["later"], each["earlier"], each["figure"]) == (later, earlier, figure)
    ]
    return one


def _verdict(found: Mapping[str, Any]) -> str:
    """The first sentence: whether the second level shows."""
    accuracy = _of(found, "T5", "T4+", "accuracy")
    ran = _of(found, "T5", "T4+", "execution_pass")
    said = (
        f"{_signed(accuracy)} of accuracy and {_signed(ran)} of programs that ran, over as many "
        f"rounds without it"
    )
    if accuracy["clear"]:
        return f"**Step-level RL makes more answers right, clear of zero: {said}.**"
    detectable = 100 * found["power"]["detectable"]
    shows = (
        "makes more programs run, clear of zero, but its" if ran["clear"] else "does not show: its"
    )
    return (
        f"**Step-level RL {shows} gain in accuracy is not clear of zero: {said}. A true gain in "
        f"accuracy of {detectable:.1f} points would be clear in four of five such experiments.**"
    )


def _signed(one: Mapping[str, Any]) -> str:
    value, low, high = (100 * one[f"difference{suffix}"] for suffix in ("", "_low", "_high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _row(row: Mapping[str, Any]) -> str:
    cells = (
        row["stage"],
        row["name"],
        _percent(row, "accuracy"),
        _percent(row, "execution_pass"),
        _percent(row, "code_ratio"),
        f"{row['tokens_per_sample']:.0f}",
    )
    return f"| {' | '.join(cells)} |\n"


def _power(found: Mapping[str, Any]) -> list[str]:
    accuracy, ran = (
        _of(found, "T5", "T4+", figure)["by_seed"] for figure in ("accuracy", "execution_pass")
    )
    text = POWER.format(
        error=100 * found["power"]["standard_error"],
        detectable=100 * found["power"]["detectable"],
        chance=found["power"]["chance"],
        seeds=found["seeds"],
        problems=found["problems"],
    )
    rows = enumerate(zip(accuracy, ran, strict=True))
    return [
        text,
        *(f"| {n} | {100 * one:+.1f} | {100 * other:+.1f} |\n" for n, (one, other) in rows),
    ]


def _by_failure(found: Mapping[str, Any]) -> list[str]:
    shares = found["by_failure"]
    before, after = shares["T4+"], shares["T5"]
    fewer = before["failed"] - after["failed"]
    gain = fewer * ((before["right_ran"] or 0) - (before["right_failed"] or 0))
    accuracy = _of(found, "T5", "T4+", "accuracy")["difference"]
    why = (
        " The\nanswers that no longer fail are harder than the others: a program that runs may "
        "still compute the\nwrong thing."
    )
    return [
        BY_FAILURE.format(
            fewer=100 * fewer,
            gain=100 * gain,
            found=100 * accuracy,
            why=why if accuracy < gain else "",
        ),
        *(
            f"| {stage} | {_share(one['failed'])} | {_share(one['right_failed'])} "
            f"| {_share(one['right_ran'])} |\n"
            for stage, one in shares.items()
        ),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _cot(rounds: Mapping[str, int]) -> list[str]:
    if not rounds:
        return []
    groups, mixed = rounds["trajectory_groups"], rounds["trajectory_mixed"]
    return [COT.format(groups=groups, mixed=mixed, share=100 * mixed / groups)]


def _families(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    rows = zip(found["learned"], found["held_out"], strict=True)
    return [
        FAMILIES.format(names=", ".join(HELD_OUT)),
        *(
            f"| {one['stage']} | {_percent(one, 'accuracy')} | {_percent(other, 'accuracy')} "
            f"| {_percent(one, 'execution_pass')} | {_percent(other, 'execution_pass')} |\n"
            for one, other in rows
        ),
    ]


def _planted(planted: Mapping[str, Any]) -> list[str]:
    by_cause: dict[str, dict[str, int]] = {
        cause: {name.partition(": ")[2]: count for name, count in found}
        for cause, found in groupby(
            planted["programs"].items(), lambda each: str(each[0]).partition(": ")[0]
        )
    }
    total = sum(planted["programs"].values())
    rows = sorted(by_cause.items(), key=lambda each: -sum(each[1].values()))

    def share(count: int) -> str:
        return f"{100 * count / total:.1f} %" if count else "–"

    return [
        PLANTED.format(tokens=planted["tokens"], samples=planted["samples"], retries=100 * RETRIES),
        *(
            f"| {'no mistake' if cause == 'none' else cause} "
            f"| {share(counts.get('failed', 0))} "
            f"| {share(counts.get('ran', counts.get('', 0)))} |\n"
            for cause, counts in rows
        ),
        f"\nAn endless loop is stopped after {LIMITS.cpu_seconds:g} s of CPU.\n",
    ]


def _tools(statistic: Mapping[str, Any]) -> str:
    return TOOLS.format(
        answers=statistic["answers"],
        all_ran=100 * (statistic["accuracy_all_ran"] or 0),
        failed=100 * (statistic["accuracy_some_failed"] or 0),
        chi=statistic["chi_square"] or 0,
        p=1.0 if statistic["p_value"] is None else statistic["p_value"],
    )


def _percent(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return "–"
    value, low, high = (100 * row[f"{name}{suffix}"] for suffix in ("", "_low", "_high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"
