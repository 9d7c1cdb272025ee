"""The formats by name: which rows each contains, how they are written, and the columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from storage.exports import atif, conversations, pairs, tables, tokens, verl
from storage.exports.common import Rows


class ExportFormat(StrEnum):
    """The formats."""

    TOOLS = "tools"
    """Messages with tool calls, role tool and a tools column: TRL, prime-rl, slime, ms-swift."""
    MESSAGES = "messages"
    """One user and one assistant message; programs and outputs are text in the second."""
    PROMPT_COMPLETION = "prompt_completion"
    """The same as two texts."""
    TOKENS = "tokens"
    """input_ids and labels exactly as recorded."""
    VERL = "verl"
    """One row a problem for RL: prompt, data_source, reward_model, extra_info."""
    PAIRS = "pairs"
    """Preference pairs from problems with right and wrong answers: DPO, reward models."""
    STEP_PAIRS = "step_pairs"
    """Preference pairs from step-level branches, as token ids."""
    ATIF = "atif"
    """Harbor's Agent Trajectory Interchange Format, one JSON object a line."""
    TRAJECTORIES = "trajectories"
    """A flat table, one row a trajectory."""
    STEPS = "steps"
    """A flat table, one row a step."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One format."""

    rows: Rows
    schema: pa.Schema | None
    """None if rows have no fixed columns; then only JSON Lines can be written."""
    kept_only: bool
    """Rows that a filter dropped are left out, because the format is for training."""


SPECS: dict[ExportFormat, Spec] = {
    ExportFormat.TOOLS: Spec(conversations.tool_calls, conversations.TOOLS, True),
    ExportFormat.MESSAGES: Spec(conversations.messages, conversations.MESSAGES, True),
    ExportFormat.PROMPT_COMPLETION: Spec(
        conversations.prompt_completion, conversations.PROMPT_COMPLETION, True
    ),
    ExportFormat.TOKENS: Spec(tokens.tokens, tokens.TOKENS, True),
    ExportFormat.VERL: Spec(verl.verl, verl.VERL, False),
    ExportFormat.PAIRS: Spec(pairs.pairs, pairs.PAIRS, False),
    ExportFormat.STEP_PAIRS: Spec(pairs.step_pairs, pairs.STEP_PAIRS, False),
    ExportFormat.ATIF: Spec(atif.atif, None, False),
    ExportFormat.TRAJECTORIES: Spec(tables.trajectories, tables.TRAJECTORIES, False),
    ExportFormat.STEPS: Spec(tables.steps, tables.STEPS, False),
}
