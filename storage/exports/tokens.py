"""Token ids and labels exactly as recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from storage.errors import ExportRefused
from storage.exports.common import Row, Texts, about, with_about
from storage.records import Trajectory

IGNORED = -100
"""The label of a token that is not learned, as in torch and Hugging Face."""

TOKENS = with_about(
    ("input_ids", pa.list_(pa.int32())),
    ("labels", pa.list_(pa.int32())),
    ("logprobs", pa.list_(pa.float32())),
    ("prompt_length", pa.int64()),
)


def tokens(trajectories: Iterable[Trajectory], texts: Texts) -> Iterator[Row]:
    """`labels` has the token where a policy wrote it, else -100; all lists have the same length.

    Raises:
        ExportRefused: a row has no token ids, because its engine returned none.
    """
    for trajectory in trajectories:
        stream = trajectory.tokens
        if not stream.token_ids:
            raise ExportRefused(
                f"{trajectory.trajectory_id} has no token ids ({trajectory.provenance.engine} "
                "returns none)",
                "export text instead: --format tools",
            )
        pairs = zip(stream.token_ids, stream.loss_mask, strict=True)
        yield {
            "input_ids": list(stream.token_ids),
            "labels": [token if learned else IGNORED for token, learned in pairs],
            "logprobs": list(stream.logprobs),
            "prompt_length": stream.prompt_length,
            **about(trajectory),
        }
