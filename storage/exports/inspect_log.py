"""Trajectories as logs for Inspect's viewer (the `view` extra).

There is one log per dataset version, program and policy. A sample is a trajectory, an epoch one of
several attempts at a problem. Logs are written only through Inspect's public API. They are for
reading and may be deleted; the data is in the store's Parquet files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    Content,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score
from inspect_ai.tool import ToolCall, ToolCallError
from inspect_ai.viewer import (
    ScoreColorScale,
    TaskSamplesColumn,
    TaskSamplesSort,
    TaskSamplesView,
    ViewerConfig,
)

from storage.find import Found
from storage.records import Attempt, Level, Outcome, Step, Trajectory

_RIGHT, _WRONG, _UNDECIDED = "C", "I", "N"
"""Inspect's letters for correct, incorrect and not judged."""
_ERRORS = {
    Outcome.TIMEOUT: "timeout",
    Outcome.OOM: "limit",
    Outcome.INFRA_ERROR: "sandbox_unavailable",
    Outcome.ERROR: "unknown",
}
ALL_ROWS, SHOWN_ROWS = "accuracy of all rows", "accuracy of the rows shown"
_COLUMNS = ("sampleId", "epoch", "input", "target", "answer", "tokens")


def write_logs(
    folder: Path,
    found: Iterable[Found],
    accuracies: Mapping[tuple[str, str, str], float],
    shown: str,
) -> list[Path]:
    """Write the trajectories to `folder`; returns the files, one for each log.

    `accuracies` comes from `find.accuracies`, so that a log shows the accuracy of all rows, not of
    the few that it contains. For rows that are not published the accuracy is of those in the log,
    and named so. `shown` says which rows the log has.
    """
    ordered = sorted(found, key=_log_of)
    groups = enumerate(groupby(ordered, key=_log_of), start=1)
    return [
        _write(folder, number, log, list(group), accuracies.get((log[0], log[1], log[3])), shown)
        for number, (log, group) in groups
    ]


_Log = tuple[str, str, str, str]
"""Dataset version, program, level and policy; within one log, problem and attempt are unique."""


def _log_of(found: Found) -> _Log:
    trajectory = found.trajectory
    version = f"{trajectory.dataset}@{found.version or 'running'}"
    made_by = trajectory.provenance
    policy = made_by.policy_version or made_by.actor_model
    return (version, trajectory.program.value, trajectory.level.value, policy)


def _write(
    folder: Path,
    number: int,
    log: _Log,
    group: Sequence[Found],
    accuracy: float | None,
    shown: str,
) -> Path:
    version, program, level, policy = log
    trajectories = [found.trajectory for found in group]
    samples = _with_distinct_epochs([_sample(trajectory) for trajectory in trajectories])
    document = EvalLog(
        status="success",
        eval=EvalSpec(
            created=_moment(min(trajectory.created_at for trajectory in trajectories)),
            task=f"{version} {program}" + (" steps" if level == Level.STEP else ""),
            dataset=EvalDataset(
                name=trajectories[0].problem.source, samples=len({one.id for one in samples})
            ),
            model=policy,
            config=EvalConfig(),
            metadata=_provenance(trajectories),
            tags=[f"shown: {shown}"],
            viewer=ViewerConfig(task_samples_view=_columns()),
        ),
        samples=samples,
        results=_results(trajectories, accuracy if level == Level.TRAJECTORY else None),
        stats=_stats(trajectories),
    )
    path = folder / f"{number:02}-{version.replace('@', '-')}-{program}.eval"
    write_eval_log(document, str(path))
    return path


def _sample(trajectory: Trajectory) -> EvalSample:
    return EvalSample(
        id=trajectory.key[0],
        epoch=trajectory.attempt + 1,
        uuid=trajectory.trajectory_id,
        input=trajectory.problem.question,
        target=trajectory.problem.answer,
        messages=list(_messages(trajectory)),
        output=ModelOutput.from_content(
            trajectory.provenance.actor_model, trajectory.final_answer or ""
        ),
        scores=_scores(trajectory),
        metadata=_metadata(trajectory),
        model_usage=_usage([trajectory]),
        total_time=trajectory.cost.wall_seconds,
        working_time=trajectory.cost.llm_seconds + trajectory.cost.sandbox_seconds,
    )


def _with_distinct_epochs(samples: list[EvalSample]) -> list[EvalSample]:
    """Give samples with the same id and epoch (of several runs) the next free epoch."""
    taken: set[tuple[int | str, int]] = set()
    for sample in samples:
        while (sample.id, sample.epoch) in taken:
            sample.epoch += 1
        taken.add((sample.id, sample.epoch))
    return samples


def _messages(trajectory: Trajectory) -> Iterator[ChatMessage]:
    yield ChatMessageUser(content=trajectory.problem.question)
    for number, step in enumerate(trajectory.steps, start=1):
        for tried, attempt in enumerate(step.attempts, start=1):
            yield from _tried(attempt, f"{number}.{tried}")
        yield from _step(step, str(number))


def _step(step: Step, number: str) -> Iterator[ChatMessage]:
    calls = [ToolCall(number, "python", {"code": step.action})] if step.action is not None else None
    yield ChatMessageAssistant(content=list(_thought(step.thought)), tool_calls=calls)
    if step.action is not None:
        yield _output(step.observation or "", step.outcome, number)


def _tried(attempt: Attempt, number: str) -> Iterator[ChatMessage]:
    """An attempt that self-correction replaced; it is not part of the trajectory."""
    text = f"*Tried and replaced:*\n\n{attempt.thought}"
    call = ToolCall(number, "python", {"code": attempt.action})
    yield ChatMessageAssistant(content=[ContentText(text=text)], tool_calls=[call])
    yield _output(attempt.observation, attempt.outcome, number)


def _thought(text: str) -> Iterator[Content]:
    """The text inside ``<think>`` as reasoning, the rest as text."""
    thinking, end, said = text.partition("</think>")
    if not end and "<think>" not in text:
        thinking, said = "", text
    if thinking.strip():
        yield ContentReasoning(reasoning=thinking.replace("<think>", "").strip())
    if said.strip() or not thinking.strip():
        yield ContentText(text=said.strip())


def _output(observation: str, outcome: Outcome | None, call: str) -> ChatMessageTool:
    error = None
    if outcome in _ERRORS:
        error = ToolCallError(_ERRORS[outcome], observation or outcome.value)  # type: ignore[arg-type]
    return ChatMessageTool(content=observation, function="python", tool_call_id=call, error=error)


def _scores(trajectory: Trajectory) -> dict[str, Score]:
    verdict, calls = trajectory.verdict, trajectory.calls
    dropped = [f"{one.rule}: {one.reason}" for one in trajectory.filters if not one.kept]
    scores = {
        "correct": Score(
            value=_letter(trajectory),
            answer=trajectory.final_answer,
            explanation=f"{verdict.method}: {verdict.reason}" if verdict else "never judged",
        ),
        "kept": Score(
            value=int(trajectory.kept), explanation="; ".join(dropped) or "kept by every rule"
        ),
        "ending": Score(value=trajectory.ending.value, explanation=trajectory.error),
        "calls": Score(value=len(calls)),
    }
    if calls:
        passed = sum(step.outcome is Outcome.OK for step in calls)
        scores["exec_pass"] = Score(value=passed / len(calls))
    return scores


def _letter(trajectory: Trajectory) -> str:
    if trajectory.reward is None:
        return _UNDECIDED
    return _RIGHT if trajectory.reward else _WRONG


def _metadata(trajectory: Trajectory) -> dict[str, object]:
    """What the viewer's list does not show: id, difficulty, seed and the actor's drafts."""
    drafts = {
        f"step {number}": step.draft
        for number, step in enumerate(trajectory.steps, start=1)
        if step.draft is not None
    }
    return {
        "trajectory": trajectory.trajectory_id,
        "difficulty": trajectory.problem.difficulty,
        "seed": trajectory.provenance.seed,
        "drafts": drafts,
    }


def _provenance(trajectories: Sequence[Trajectory]) -> dict[str, object]:
    """The provenance of the first row; a version has one configuration."""
    made_by = trajectories[0].provenance
    return {
        "run": made_by.run_id,
        "configuration": made_by.config_hash,
        "critic": made_by.critic_model,
        "engine": made_by.engine,
        "sandbox": made_by.sandbox,
        "code": made_by.code_version,
    }


def _usage(trajectories: Sequence[Trajectory]) -> dict[str, ModelUsage]:
    asked: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for trajectory in trajectories:
        cost, made_by = trajectory.cost, trajectory.provenance
        asked[made_by.actor_model] += cost.actor_prompt_tokens
        said[made_by.actor_model] += cost.actor_completion_tokens
        if made_by.critic_model is not None:
            asked[made_by.critic_model] += cost.critic_prompt_tokens
            said[made_by.critic_model] += cost.critic_completion_tokens
    return {
        model: ModelUsage(
            input_tokens=asked[model],
            output_tokens=said[model],
            total_tokens=asked[model] + said[model],
        )
        for model in asked
    }


def _results(trajectories: Sequence[Trajectory], accuracy: float | None) -> EvalResults:
    """The header's figure, by a name that says of which rows it is."""
    rewards = [row.reward for row in trajectories if row.reward is not None]
    metrics = {}
    if accuracy is not None:
        metrics = {"accuracy": EvalMetric(name=ALL_ROWS, value=accuracy)}
    elif rewards:
        metrics = {"accuracy": EvalMetric(name=SHOWN_ROWS, value=sum(rewards) / len(rewards))}
    score = EvalScore(name="correct", scorer="correct", metrics=metrics)
    rows = len(trajectories)
    return EvalResults(total_samples=rows, completed_samples=rows, scores=[score])


def _stats(trajectories: Sequence[Trajectory]) -> EvalStats:
    """Token usage and times; without times the viewer shows NaN days."""
    ends = [trajectory.created_at for trajectory in trajectories]
    return EvalStats(
        started_at=_moment(min(ends)),
        completed_at=_moment(max(ends)),
        model_usage=_usage(trajectories),
    )


def _columns() -> TaskSamplesView:
    scores = ("correct", "kept", "ending", "exec_pass", "calls")
    return TaskSamplesView(
        name="trajectories",
        columns=[TaskSamplesColumn(id=name) for name in _COLUMNS]
        + [TaskSamplesColumn.score(name) for name in scores],
        sort=[TaskSamplesSort(column="sampleId"), TaskSamplesSort(column="epoch")],
        multiline=False,
        compact_scores=False,
        score_color_scales={
            "kept": ScoreColorScale(palette="good-high", min=0, max=1),
            "exec_pass": ScoreColorScale(palette="good-high", min=0, max=1),
        },
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
