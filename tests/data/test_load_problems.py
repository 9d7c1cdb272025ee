"""Bad rows are named before anything runs, and ids do not depend on where a row stands."""

from pathlib import Path

import pytest

from tests.data.writing import write_jsonl
from tirgen.data.errors import ProblemsError, skipped_by_reason
from tirgen.data.load import load_problems

GOOD = {"question": "q", "answer": "1"}


def lines(tmp_path: Path, *rows: str) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def spoilt(tmp_path: Path) -> str:
    return lines(
        tmp_path,
        '{"question": "q1", "answer": "1"}',
        '{"question": "q2"}',
        "",
        '{"question": "q4", ',
        '{"question": "  ", "answer": "5"}',
        "[1, 2]",
        '{"question": "q7", "answer": NaN}',
        '{"question": "q8", "answer": {"is": 1}}',
        '{"question": "q9", "answer": "9"}',
    )


def test_bad_rows_are_refused_by_line_and_reason(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError) as refusal:
        load_problems(spoilt(tmp_path))
    assert [(row.line, row.why) for row in refusal.value.bad_rows] == [
        (2, "has no answer"),
        (4, "is not JSON"),
        (5, "has no question"),
        (6, "is not a JSON object"),
        (7, "has no answer"),
        (8, "has an answer of a kind that cannot be read (dict)"),
    ]
    assert "6 rows of rows.jsonl" in str(refusal.value)
    assert "line 2: has no answer" in str(refusal.value)
    assert "and 1 more" in str(refusal.value)
    assert "--skip-bad-rows" in str(refusal.value)


def test_bad_rows_are_skipped_and_counted_on_request(tmp_path: Path) -> None:
    found = load_problems(spoilt(tmp_path), skip_bad_rows=True)
    assert [problem.answer for problem in found.problems] == ["1", "9"]
    assert [row.line for row in found.skipped] == [2, 4, 5, 6, 7, 8]


def test_a_gsm8k_row_without_its_marker_is_bad(tmp_path: Path) -> None:
    rows = [{"question": "a", "answer": "so\n#### 1"}, {"question": "b", "answer": "so 2"}]
    with pytest.raises(ProblemsError, match='line 2: has no "####'):
        load_problems(write_jsonl(tmp_path / "g.jsonl", rows))


def test_a_math_row_without_a_box_is_bad(tmp_path: Path) -> None:
    rows = [{"problem": "a", "solution": r"\boxed{1}"}, {"problem": "b", "solution": "2"}]
    with pytest.raises(ProblemsError, match=r"line 2: has a solution without a \\boxed"):
        load_problems(write_jsonl(tmp_path / "m.jsonl", rows))


def test_a_file_of_bad_rows_only_is_refused_even_when_skipping(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="no row is left"):
        load_problems(lines(tmp_path, '{"question": "q", "answer": ""}'), skip_bad_rows=True)
    with pytest.raises(ProblemsError, match="is not JSON"):
        load_problems(lines(tmp_path, "nonsense"), skip_bad_rows=True)


def test_bytes_that_are_not_utf8_spoil_their_line_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"question": "q", "answer": "1"}\n{"question": "\x81", "answer": "1"}\n')
    found = load_problems(str(path), skip_bad_rows=True)
    assert [(row.line, row.why) for row in found.skipped] == [(2, "is not UTF-8")]


def test_an_empty_file_holds_no_rows(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="holds no rows"):
        load_problems(lines(tmp_path, ""))


def test_the_limit_keeps_the_first_and_reads_no_further(tmp_path: Path) -> None:
    rows = ['{"question": "a", "answer": "1"}', '{"question": "b", "answer": "2"}', "nonsense"]
    found = load_problems(lines(tmp_path, *rows), limit=2)
    assert [problem.question for problem in found.problems] == ["a", "b"]


def test_ids_follow_the_question_wherever_it_stands(tmp_path: Path) -> None:
    rows = [{"question": q, "answer": "1"} for q in "abc"]
    one = load_problems(write_jsonl(tmp_path / "1" / "s.jsonl", rows)).problems
    two = load_problems(write_jsonl(tmp_path / "2" / "s.jsonl", rows[::-1])).problems
    assert {p.question: p.problem_id for p in one} == {p.question: p.problem_id for p in two}
    assert len({p.problem_id for p in one}) == 3
    assert one[0].problem_id == "s-ca978112ca1b"


def test_an_id_given_twice_stays_with_the_first_question(tmp_path: Path) -> None:
    rows = [{"id": 1, **GOOD}, {"id": 1, "question": "r", "answer": "2"}]
    one, two = load_problems(write_jsonl(tmp_path / "s.jsonl", rows)).problems
    assert one.problem_id == "s-1"
    assert two.problem_id == "s-454349e422f0"


def test_the_id_column_can_be_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "s.jsonl", [{"id": 1, "name": "n1", **GOOD}])
    assert load_problems(path, id_field="name").problems[0].problem_id == "s-n1"


def test_a_repeated_row_is_one_problem(tmp_path: Path) -> None:
    found = load_problems(write_jsonl(tmp_path / "s.jsonl", [GOOD, GOOD]))
    assert (len(found.problems), found.repeated, found.skipped) == (1, 1, ())


def test_the_same_question_with_another_answer_is_bad(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "s.jsonl", [GOOD, GOOD | {"answer": "2"}])
    with pytest.raises(ProblemsError, match="line 2: contradicts line 1"):
        load_problems(path)


def test_a_missing_path_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match=r"nowhere\.jsonl does not exist"):
        load_problems(str(tmp_path / "nowhere.jsonl"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_packaged_problems_come_by_split(split: str) -> None:
    found = load_problems(f"pocket:{split}", limit=7)
    assert len(found.problems) == 7
    assert {problem.source for problem in found.problems} == {f"pocket:{split}"}
    assert found.problems == load_problems(f"pocket:{split}", limit=9).problems[:7]


def test_there_is_no_other_packaged_split() -> None:
    with pytest.raises(ProblemsError, match="pocket:train or pocket:test"):
        load_problems("pocket:dev")


def test_the_first_so_many_are_left_out_and_the_limit_counts_from_there(tmp_path: Path) -> None:
    path = spoilt(tmp_path)
    [second] = load_problems(path, skip=1, limit=1, skip_bad_rows=True).problems
    assert second.answer == "9"
    whole = load_problems("pocket:test", limit=5).problems
    assert load_problems("pocket:test", skip=2, limit=3).problems == whole[2:]
    with pytest.raises(ProblemsError, match="holds 2 problems, none after the first 2"):
        load_problems(path, skip=2, skip_bad_rows=True)


def test_one_bad_row_does_not_end_the_load_of_a_real_file(tmp_path: Path) -> None:
    good = [f'{{"question": "q{n}", "answer": "{n}"}}' for n in range(40)]
    found = load_problems(lines(tmp_path, *good[:7], '{"question": "torn', *good[7:]))
    assert len(found.problems) == 40
    assert [(row.line, row.why) for row in found.skipped] == [(8, "is not JSON")]


def test_more_bad_rows_than_published_data_has_refuse_the_file(tmp_path: Path) -> None:
    good = [f'{{"question": "q{n}", "answer": "{n}"}}' for n in range(37)]
    with pytest.raises(ProblemsError, match=r"3 rows of rows\.jsonl .*more than 5% of the rows"):
        load_problems(lines(tmp_path, *good, "torn", "torn", "torn"))


@pytest.mark.parametrize("spelling", ["84.0", "$84$", "\\boxed{84}", "84 ", "\\frac{168}{2}"])
def test_the_same_answer_spelled_otherwise_is_no_contradiction(
    tmp_path: Path, spelling: str
) -> None:
    rows = [{"question": "q", "answer": "84"}, {"question": "q", "answer": spelling}]
    found = load_problems(write_jsonl(tmp_path / "s.jsonl", rows))
    assert (len(found.problems), found.repeated, found.skipped) == (1, 1, ())


def test_id_and_difficulty_may_lie_in_any_field(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "1", "meta": {"key": "k7", "stars": 4}}]
    path = write_jsonl(tmp_path / "s.jsonl", rows)
    [problem] = load_problems(path, id_field="meta.key", difficulty_field="meta.stars").problems
    assert (problem.problem_id, problem.difficulty) == ("s-k7", "4")
    with pytest.raises(ProblemsError, match="no field 'stars'"):
        load_problems(path, difficulty_field="stars")


def test_a_column_of_long_text_that_is_not_read_is_named(tmp_path: Path) -> None:
    story = "Anna has seven apples and gives two of them to each of her three friends. "
    rows = [{"story": story, "question": "q", "answer": "1", "solution": story * 3, "src": "x"}]
    path = write_jsonl(tmp_path / "s.jsonl", rows)
    assert load_problems(path).unread == ("story",)


def test_reasons_are_summed_up_and_not_listed_a_line_each(tmp_path: Path) -> None:
    rows = [{"problem": f"p{n}", "answer": "proof" if n % 2 else "1"} for n in range(400)]
    found = load_problems(write_jsonl(tmp_path / "s.jsonl", rows))
    [sentence] = skipped_by_reason(found.skipped)
    assert sentence.startswith("left out 200 rows: has 'proof' for an answer")
    assert sentence.endswith("(line 2, 4, 6, 8, 10, …)")
