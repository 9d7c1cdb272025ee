"""What a run shows, without a server: markdown, chart and health of hostile and of odd input."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from flows.service.events import DriftLimits, Health
from flows.service.markdown import Link, fenced, inert, plain, table
from flows.service.spread import waits

HOSTILE = "a `b` | [x](javascript:alert(1)) <img onerror=1>\n\x1b[31m\u202e end"


TEXTS = [
    HOSTILE, "a | b", r"\|v\|", r"\|![b](https://evil.example/x.png)", r"a\\|b", "``x`|`", "`",
    "|", "||", r"\`|", "<b>&amp;|</b>", "https://evil.example www.evil.example a@evil.example `",
    "$|x|$", r"*a* _b_ ~~c~~ \| # d", r"| a\|\\|\\\| b |", "`![b](https://evil.example)`", "x\\",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_cell_is_its_text_and_nothing_else(text: str) -> None:
    """As GitHub's Markdown is read: one row of two cells, the text in it unchanged."""
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = parser.parse(table([{"text": text, "after": 1}]))
    cells = [token.children or [] for token in tokens if token.type == "inline"][2:]
    assert [[child.type for child in cell] for cell in cells[1:]] == [["text"]]
    assert {child.type for child in cells[0]} <= {"text", "text_special", "code_inline"}
    assert "".join(child.content for child in cells[0]) == plain(text)


def test_a_cell_holds_no_control_character() -> None:
    [row] = table([{"question": HOSTILE}]).splitlines()[2:]
    assert not {"\x1b", "\u202e"} & {*row}


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert fenced("```\n````", "sh").splitlines()[0] == "`````sh"


def test_a_table_artifact_holds_no_link() -> None:
    [row] = inert([{"question": HOSTILE, "calls": 3}])
    assert "](" not in row["question"]
    assert row["calls"] == 3


def test_no_rows_are_said_to_be_none() -> None:
    assert table([]) == "*none*"


@pytest.mark.parametrize(
    ("rows", "kept", "lost", "drifts"),
    [(100, 5, 2, False), (100, 4, 0, True), (100, 50, 3, True), (0, 0, 0, True)],
)
def test_a_version_drifts_by_its_yield_or_by_what_was_lost(
    rows: int, kept: int, lost: int, drifts: bool
) -> None:
    health = Health(rows, kept, lost, DriftLimits(least_kept_share=0.05, most_lost_share=0.02))
    assert health.drifts is drifts
    assert health.sentence.startswith("Drifting" if drifts else "Healthy")


def test_only_a_link_of_ours_is_a_link() -> None:
    row = {"id": Link("t1", "http://127.0.0.1:1/trajectories/t1"), "question": HOSTILE}
    assert inert([row])[0]["id"] == "[t1](http://127.0.0.1:1/trajectories/t1)"
    assert table([row]).splitlines()[2].startswith("| [t1](http://127.0.0.1:1/trajectories/t1) |")


def test_waits_double_up_to_five_minutes_and_add_up() -> None:
    assert waits(0) == []
    assert waits(4) == [15, 30, 60, 120, 15]
    assert sum(waits(60)) == 3600
    assert max(waits(60)) == 300
