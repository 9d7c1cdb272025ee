"""Why a run kept nothing: what most of its attempts have in common, and what to do about it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from storage.records import Trajectory
from tirgen.filters.filter_config import Rule


class Advice(NamedTuple):
    """The likely cause of one kind of failure, and the command that shows or mends it."""

    cause: str
    command: str


_DOCTOR = "tirgen doctor with the same engine flags names tokenizer and prompt set"
_READ = 'tirgen traj list {dataset} --where "not kept", then tirgen traj show ID'
_SQL = (
    'tirgen sql "select outcome, error, count(*) as n from failures group by all order by n desc"'
)

ADVICE = {
    Rule.INFRASTRUCTURE: Advice("engine or sandbox broke off", "tirgen doctor"),
    Rule.VERIFIABLE: Advice(
        "the gold answers cannot be verified", "tirgen generate --dry-run names some"
    ),
    Rule.FORMAT: Advice("a model does not write the format it is asked for", _DOCTOR),
    Rule.UNTOUCHED: Advice("the critic changes text that computes nothing", _READ),
    Rule.FINISHED: Advice(
        "answers are cut off: the model does not come to an end, or the limits are too low", _READ
    ),
    Rule.BOXED: Advice("the actor does not follow its prompt, or has another one's", _DOCTOR),
    Rule.CORRECT: Advice(
        "the actor is too weak for these problems, or asked in another form than it learned", _READ
    ),
    Rule.USES_TOOL: Advice("the critic writes no programs", _DOCTOR),
    Rule.EXECUTED: Advice("the critic's programs fail", _SQL),
}
"""By the rule that drops most. Others are settings of the filters: the table says which."""


def explained(rows: list[Trajectory], dataset: str) -> list[str]:
    """Sentences on a run that kept nothing; `rows` are all that it made."""
    attempts = [row for row in rows if _first_rule(row) != Rule.PROGRAM.value]
    if not attempts:
        return ["no attempt at any problem was made: raise the limits or the budget"]
    endings = Counter(row.ending for row in attempts)
    rules = Counter(rule for row in attempts if (rule := _first_rule(row)))
    ending, ended = endings.most_common(1)[0]
    rule, dropped = rules.most_common(1)[0]
    total = len(attempts)
    said = [
        f"no trajectory was kept: {ended} of {total} attempts end as {ending.value}, and the rule "
        f"{rule} drops {dropped}"
    ]
    advice = next((advice for known, advice in ADVICE.items() if known.value == rule), None)
    if advice is None:
        return [*said, f"next: {_READ.format(dataset=dataset)}; docs/filters.md has the rules"]
    return [
        f"{said[0]}; likely {advice.cause}",
        f"next: {advice.command.format(dataset=dataset)}",
    ]


def _first_rule(row: Trajectory) -> str | None:
    return next((verdict.rule for verdict in row.filters if not verdict.kept), None)
