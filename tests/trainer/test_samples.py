"""From stored rows to what the loss counts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import versions
from storage.datasets import Store
from storage.records import FilterVerdict, Level, TokenStream, Trajectory
from storage.schema import to_batch
from tests.trainer.tiny_policy import publish, round_rows, sampled, trajectory
from trainer.distributed import World
from trainer.rows import (
    PREPARED,
    TooLong,
    credit_rows,
    fitting,
    prepared_samples,
    rollouts,
    rollouts_of,
    sft_samples_of,
    share,
)
from trainer.samples import Sample
from trainer.settings import OverlongRule

STREAM = TokenStream(
    token_ids=(10, 11, 12, 13, 14, 15),
    loss_mask=(False, False, True, False, True, True),
    logprobs=(None, None, -0.5, None, -1.0, -1.5),
    prompt_length=2,
)


def kept(**fields: Any) -> Trajectory:
    return trajectory(0, "g", STREAM, correct=True, **fields)


def examples(*rows: Trajectory, learn_observations: bool = False) -> list[Sample]:
    return list(sft_samples_of(to_batch(rows, Trajectory), learn_observations))


def test_sft_learns_exactly_the_tokens_of_the_stored_mask() -> None:
    [sample] = examples(kept())
    assert sample.token_ids[sample.learned].tolist() == [12, 14, 15]


def test_the_unmasked_variant_learns_observations_but_never_the_prompt() -> None:
    """Method A14."""
    [sample] = examples(kept(), learn_observations=True)
    assert sample.token_ids[sample.learned].tolist() == [12, 13, 14, 15]


def test_rejected_and_step_level_rows_are_no_examples_to_follow() -> None:
    rejected = kept(filters=(FilterVerdict(rule="correct", kept=False, reason="wrong"),))
    assert examples(rejected, kept(level=Level.STEP)) == []


def test_rows_of_a_chat_endpoint_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="has no token ids"):
        examples(trajectory(0, "g", TokenStream(), correct=True))


def test_a_rollout_carries_the_samplers_word_on_each_learned_token() -> None:
    [sample] = sampled([kept()])
    assert sample.sampler_logprobs.tolist() == [-0.5, -1.0, -1.5]
    assert sample.token_ids.tolist() == list(STREAM.token_ids)


def test_rows_without_an_advantage_stay_out() -> None:
    assert list(rollouts_of(to_batch([kept()], Trajectory), {})) == []


def test_tokens_a_critic_wrote_cannot_be_importance_weighted() -> None:
    row = replace(kept(), tokens=replace(STREAM, logprobs=(None,) * 6))
    with pytest.raises(ValueError, match="did not sample"):
        sampled([row])


@pytest.mark.parametrize("bent", ['{"temperature": 0.6}', '{"top_p": 0.95}', '{"top_k": 50}'])
def test_a_cut_or_bent_distribution_is_refused(bent: str) -> None:
    row = kept()
    row = replace(row, provenance=replace(row.provenance, sampling=bent))
    with pytest.raises(ValueError, match="biases the importance ratio"):
        sampled([row])


def test_a_sample_beyond_the_longest_is_dropped_cut_or_refused(
    tmp_path: Path, world: World
) -> None:
    [sample] = examples(kept())
    for longest in (6, None):
        [same], longer = fitting([sample], longest, OverlongRule.REFUSE, tmp_path, world)
        assert (same.sample_id, longer) == (sample.sample_id, 0)
        assert same.token_ids.tolist() == sample.token_ids.tolist()
        assert same.learned.tolist() == sample.learned.tolist()
    assert fitting([sample], 5, OverlongRule.DROP, tmp_path, world) == ([], 1)
    [cut], longer = fitting([sample], 5, OverlongRule.TRUNCATE, tmp_path, world)
    assert longer == 1
    assert cut.token_ids.tolist() == list(STREAM.token_ids[:5])
    assert cut.token_ids[cut.learned].tolist() == [12, 14]
    with pytest.raises(TooLong, match="6 tokens, more than 5"):
        fitting([sample], 5, OverlongRule.REFUSE, tmp_path, world)


def test_a_sample_of_which_nothing_is_left_to_learn_is_not_cut_but_dropped(
    tmp_path: Path, world: World
) -> None:
    assert fitting(examples(kept()), 2, OverlongRule.TRUNCATE, tmp_path, world) == ([], 1)


def test_a_rollout_that_is_cut_keeps_the_samplers_word_on_what_is_left(
    tmp_path: Path, world: World
) -> None:
    samples = sampled([kept()])
    [cut], _ = fitting(samples, 5, OverlongRule.TRUNCATE, tmp_path, world)
    assert cut.sampler_logprobs.tolist() == [-0.5, -1.0]


def test_samples_prepared_for_a_policy_are_read_as_they_were_written(
    tmp_path: Path, world: World
) -> None:
    rows = [
        {
            "trajectory_id": "t",
            "token_ids": [1, 2, 3, 4, 5],
            "loss_mask": [False, False, True, False, True],
            "prompt_length": 2,
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows, PREPARED), tmp_path / "s.parquet")
    [masked] = prepared_samples(tmp_path / "s.parquet", False, world)
    [observed] = prepared_samples(tmp_path / "s.parquet", True, world)
    assert masked.token_ids.tolist() == [1, 2, 3, 4, 5]
    assert masked.learned.tolist() == [False, False, True, False, True]
    assert observed.learned.tolist() == [False, False, True, True, True]


def test_samples_on_disk_are_the_same_and_leave_no_file(tmp_path: Path, world: World) -> None:
    rows = [replace(kept(), trajectory_id=f"t{n:02}") for n in range(50)]
    made = sampled(rows, 0.25)
    for sample, mapped in zip(made, share(iter(made[::-1]), tmp_path, world), strict=True):
        assert (sample.sample_id, sample.level, sample.advantage) == (
            mapped.sample_id, mapped.level, mapped.advantage
        )  # fmt: skip
        for name in ("token_ids", "learned", "sampler_logprobs"):
            assert getattr(sample, name).dtype == getattr(mapped, name).dtype
            assert getattr(sample, name).tolist() == getattr(mapped, name).tolist()
    assert list(tmp_path.iterdir()) == []


def test_processes_read_every_row_once_between_them(
    store: Store, policy: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paper-size round was read twice by each of 8 processes, as objects of 71 bytes a token."""
    monkeypatch.setattr(versions, "ROW_GROUP", 5)
    monkeypatch.setattr(versions, "FILE_ROWS", 12)
    rows = round_rows(policy)
    dataset = publish(store, rows)
    assert len(dataset.files) > 1
    parts = [
        list(
            rollouts(
                dataset, {row.trajectory_id: 0.0 for row in rows}, replace(world, rank=rank, size=3)
            )
        )
        for rank in range(3)
    ]
    assert all(parts)
    read = [sample.sample_id for part in parts for sample in part]
    assert sorted(read) == sorted(row.trajectory_id for row in rows)
    assert [row.trajectory_id for row in credit_rows(dataset, world)] == sorted(read)
