"""Public data sets in the schema in which they are published, with rows made up for this test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.writing import Fields, write_csv, write_jsonl, write_parquet
from tirgen.data.errors import ProblemsError
from tirgen.data.load import ProblemSet, load_problems

BOXED = "Let's think step by step and output the final answer within \\boxed{}."


def load(tmp_path: Path, *rows: object, **options: Any) -> ProblemSet:
    return load_problems(write_jsonl(tmp_path / "set.jsonl", rows), **options)


def pair(found: ProblemSet) -> tuple[str, str]:
    [problem] = found.problems
    return problem.question, problem.answer


# --- AI-MO/NuminaMath-1.5


def numina(problem: str, answer: str, **changes: str) -> Fields:
    return {
        "problem": problem,
        "solution": "Somebody's long solution, with a box \\boxed{9}.",
        "answer": answer,
        "problem_type": "Number Theory",
        "question_type": "math-word-problem",
        "problem_is_valid": "Yes",
        "solution_is_valid": "Yes",
        "source": "olympiads",
        "synthetic": False,
    } | changes


def test_numinamath_leaves_out_what_has_no_answer(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        numina("Find the least $n$.", "17"),
        numina("Prove that $n^2 \\ge 0$.", "proof", question_type="proof"),
        numina("Show it.", "proof"),
        numina("Find all.", "notfound"),
        numina("Compute", "3", problem_is_valid="Incomplete"),
    )
    assert pair(found) == ("Find the least $n$.", "17")
    assert [row.line for row in found.skipped] == [2, 3, 4, 5]
    assert all(row.by_rule for row in found.skipped)
    assert "proof" in found.skipped[0].why
    assert found.skipped[3].why == "is marked by its publisher (problem_is_valid: Incomplete)"


def test_a_file_of_proofs_alone_is_refused_by_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match=r"asks for a proof.*no row is left"):
        load(tmp_path, numina("Prove it.", "proof", question_type="proof"))


# --- questions that speak of what another column says


def test_asdiv_reads_the_body_and_counts_without_apples(tmp_path: Path) -> None:
    row = {
        "body": "Seven red apples and two green apples are in the basket.",
        "question": "How many apples are in the basket?",
        "solution_type": "Addition",
        "answer": "9 (apples)",
        "formula": "7+2=9",
    }
    assert pair(load(tmp_path, row)) == (f"{row['body']}\n\n{row['question']}", "9")


@pytest.mark.parametrize(
    ("published", "gold"),
    [
        ("1,200 (sq ft)", "1,200"),
        ("3/4 (of a mile)", "3/4"),
        ("5 (mod 7)", "5 (mod 7)"),
        ("f(x)", "f(x)"),
        ("10:30 (a.m.)", "10:30 (a.m.)"),
    ],
)
def test_only_what_is_counted_falls_from_a_number(
    tmp_path: Path, published: str, gold: str
) -> None:
    assert pair(load(tmp_path, {"question": "q", "answer": published}))[1] == gold


def test_svamp_writes_its_columns_with_capitals(tmp_path: Path) -> None:
    row = {
        "ID": "chal-1",
        "Body": "Each pack of books costs 76 dollars with a discount of 30 dollars.",
        "Question": "How much do you pay for a pack?",
        "Equation": "( 76.0 - 30.0 )",
        "Answer": "46",
        "Type": "Subtraction",
    }
    [problem] = load(tmp_path, row).problems
    assert problem.question == f"{row['Body']}\n\n{row['Question']}"
    assert (problem.answer, problem.problem_id) == ("46", "set-chal-1")


def test_a_context_that_is_null_leaves_the_question_alone(tmp_path: Path) -> None:
    rows = [{"passage": None, "question": f"q{n}", "answer": "1"} for n in range(2)]
    assert load(tmp_path, *rows).problems[0].question == "q0"


# --- choices


def test_mmlu_stem_has_an_index_and_a_list(tmp_path: Path) -> None:
    row = {
        "question": "What is $2^5$?",
        "subject": "abstract_algebra",
        "choices": ["16", "25", "32", "64"],
        "answer": 2,
    }
    question, gold = pair(load_problems(write_parquet(tmp_path / "test.parquet", [row])))
    assert question == "What is $2^5$?\n\n(A) 16\n(B) 25\n(C) 32\n(D) 64"
    assert gold == "(C) 32"


def test_aqua_has_lettered_options_and_a_letter(tmp_path: Path) -> None:
    row = {
        "question": "A car travels 42 miles in 2 hours. What is its speed?",
        "options": ["A)21 mph", "B)84 mph", "C)24 mph", "D)40 mph", "E)None"],
        "rationale": "42 / 2 = 21",
        "correct": "A",
    }
    question, gold = pair(load(tmp_path, row))
    assert question.endswith("\n\n(A) 21 mph\n(B) 84 mph\n(C) 24 mph\n(D) 40 mph\n(E) None")
    assert gold == "(A) 21 mph"


def test_agieval_gaokao_has_an_empty_passage_and_a_label(tmp_path: Path) -> None:
    row = {
        "passage": None,
        "question": "设集合 $A=\\{1,2\\}$, 则",
        "options": ["(A)$1$", "(B)$2$", "(C)$3$", "(D)$4$"],
        "label": "B",
        "answer": None,
        "other": {"source": "2023"},
    }
    question, gold = pair(load(tmp_path, row))
    assert question.endswith("(A) $1$\n(B) $2$\n(C) $3$\n(D) $4$")
    assert gold == "(B) $2$"


def test_mmlu_pro_has_a_letter_and_its_index(tmp_path: Path) -> None:
    row = {
        "question_id": 70,
        "question": "Which?",
        "options": [f"option {n}" for n in range(10)],
        "answer": "I",
        "answer_index": 8,
        "cot_content": "",
        "category": "math",
        "src": "ori_mmlu",
    }
    [problem] = load(tmp_path, row).problems
    assert (problem.answer, problem.problem_id) == ("(I) option 8", "set-70")


def test_mmlu_as_csv_has_a_column_for_each_choice(tmp_path: Path) -> None:
    row = {"question": "Q?", "A": "one", "B": "two", "C": "three", "D": "four", "answer": "D"}
    question, gold = pair(load_problems(write_csv(tmp_path / "dev.csv", [row])))
    assert (question, gold) == ("Q?\n\n(A) one\n(B) two\n(C) three\n(D) four", "(D) four")


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_choices_may_be_text_that_says_a_list(tmp_path: Path, written: Any) -> None:
    row = {"question": "Q?", "options": written(["it's 1", "2"]), "answer": "B"}
    path = write_csv(tmp_path / "s.csv", [row])
    assert pair(load_problems(path)) == ("Q?\n\n(A) it's 1\n(B) 2", "(B) 2")


def test_arc_has_texts_and_labels_in_an_object(tmp_path: Path) -> None:
    row = {
        "id": "Mercury_1",
        "question": "Q?",
        "choices": {"text": ["x", "y"], "label": ["A", "B"]},
        "answerKey": "B",
    }
    assert pair(load(tmp_path, row)) == ("Q?\n\n(A) x\n(B) y", "(B) y")


def test_tabmwp_mixes_choices_and_free_answers(tmp_path: Path) -> None:
    shared = {"table": "Day | Sold\nMonday | 3", "unit": None}
    rows = [
        {"question": "How many?", "choices": None, "answer": "3"} | shared,
        {"question": "Which day?", "choices": ["Monday", "Friday"], "answer": "Monday"} | shared,
    ]
    first, second = load(tmp_path, *rows).problems
    assert (first.question, first.answer) == (f"{shared['table']}\n\nHow many?", "3")
    assert second.answer == "(A) Monday"


def test_an_answer_that_is_no_choice_is_named(tmp_path: Path) -> None:
    good = {"question": "Q?", "choices": ["1", "2"], "answer": "A"}
    found = load(tmp_path, good, good | {"question": "R?", "answer": "E"}, skip_bad_rows=True)
    assert found.skipped[0].why == "has the answer 'E', which is none of its 2 choices"


# --- reinforcement learning sets in verl's layout


def verl(prompt: object, truth: object, **changes: object) -> Fields:
    return {
        "data_source": "set",
        "prompt": prompt,
        "ability": "math",
        "reward_model": {"ground_truth": truth, "style": "rule"},
        "extra_info": {"index": 3},
    } | changes


def user(text: object) -> list[Fields]:
    return [{"role": "user", "content": text}]


def test_skywork_says_its_answer_as_json(tmp_path: Path) -> None:
    row = verl(user(f"How many? {BOXED}"), '["84"]', extra_info={"index": 0})
    assert pair(load(tmp_path, row)) == ("How many?", "84")


def test_alternatives_that_are_the_same_answer_are_one(tmp_path: Path) -> None:
    assert pair(load(tmp_path, verl(user("q"), '["0.5", "\\\\frac{1}{2}"]')))[1] == "0.5"


def test_alternatives_that_differ_leave_the_row_out(tmp_path: Path) -> None:
    rows = verl(user("q"), '["84", "85"]'), verl(user("r"), ["1"])
    found = load(tmp_path, *rows)
    assert pair(found) == ("r", "1")
    assert found.skipped[0].by_rule
    assert "any of several different answers" in found.skipped[0].why


def test_a_bracketed_answer_of_mathematics_stays_as_it_is(tmp_path: Path) -> None:
    assert pair(load(tmp_path, verl(user("q"), "[1, 2]")))[1] == "[1, 2]"


def test_eurus_loses_its_wrappers_and_its_programs(tmp_path: Path) -> None:
    system = {"role": "system", "content": "\nWhen tackling complex reasoning tasks, you have …"}
    asked = "Find $x$.\n\nPresent the answer in LaTex format: \\boxed{Your answer}"
    code = "Sort it.\n\nWrite Python code to solve the problem. Present the code in \n```python"
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["1\n"]})
    found = load(
        tmp_path,
        verl([system, *user(asked)], "3"),
        verl([system, *user(code)], tests, ability="code"),
        verl([system, *user(code + " ")], tests, ability="other"),
    )
    assert pair(found) == ("Find $x$.", "3")
    assert [row.by_rule for row in found.skipped] == [True, True]


def test_columns_may_hold_their_objects_as_json(tmp_path: Path) -> None:
    row = verl(json.dumps(user("Why?")), "2")
    row["reward_model"] = json.dumps(row["reward_model"])
    row["extra_info"] = json.dumps(row["extra_info"])
    [problem] = load_problems(write_csv(tmp_path / "s.csv", [row])).problems
    assert (problem.question, problem.answer, problem.problem_id) == ("Why?", "2", "set-3")


def test_content_may_come_in_parts(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Find"}, {"type": "text", "text": "$x$."}]
    assert pair(load(tmp_path, verl(user(parts), "2")))[0] == "Find\n$x$."


def test_an_image_is_said_to_be_unread(tmp_path: Path) -> None:
    parts = [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "Find."}]
    found = load(tmp_path, verl(user(parts), "2"), verl(user("q"), "3"), skip_bad_rows=True)
    assert found.skipped[0].why == "shows image_url, and only text is read"


# --- whole prompts in the question column


CHATML = (
    "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{{}}."
    "<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant"
)


def test_simplerl_publishes_the_question_twice_once_as_chatml(tmp_path: Path) -> None:
    row = {
        "input": CHATML.format("Compute $7 \\cdot 6$."),
        "answer": "Seven times six is \\boxed{42}.",
        "gt_answer": "42",
        "subject": "Prealgebra",
        "level": 3,
        "question": "Compute $7 \\cdot 6$.",
        "target": "42",
    }
    [problem] = load(tmp_path, row).problems
    assert (problem.question, problem.answer) == ("Compute $7 \\cdot 6$.", "42")
    assert problem.difficulty == "3"


@pytest.mark.parametrize(
    "rendered",
    [
        CHATML,
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
        "<|user|>\n{}<|end|>\n<|assistant|>\n",
        "<｜begin▁of▁sentence｜><｜User｜>{}<｜Assistant｜><think>\n",
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n{} [/INST]",
        "A conversation between User and Assistant. The user asks a question, and the Assistant "
        "solves it.\nUser: {}\nAssistant: <think>",
        "Question:\n{}\nAnswer:\nLet's think step by step.\n",
    ],
    ids=["chatml", "llama3", "gemma", "phi", "deepseek", "llama2", "r1-zero", "abel"],
)
def test_a_rendered_chat_gives_its_last_question(tmp_path: Path, rendered: str) -> None:
    row = {"prompt": rendered.format("What is $1+1$?"), "answer": "2"}
    assert pair(load(tmp_path, row))[0] == "What is $1+1$?"


def test_an_instruction_never_seen_before_is_told_by_standing_everywhere(tmp_path: Path) -> None:
    wrapped = (
        "You are a careful mathematician. Give your reasoning first.\n{}\n"
        "Close with a line that has the final answer in \\boxed{{}} and nothing else."
    )
    rows = [
        {"question": wrapped.format(f"Find $x$. It is {n} + 1."), "answer": "1"} for n in range(9)
    ]
    questions = [problem.question for problem in load(tmp_path, *rows).problems]
    assert questions == [f"Find $x$. It is {n} + 1." for n in range(9)]


def test_what_all_questions_of_a_family_say_stays_in_them(tmp_path: Path) -> None:
    rows = [{"question": f"Solve for x. {n}x = 4. Give x.", "answer": "1"} for n in range(9)]
    assert load(tmp_path, *rows).problems[0].question == "Solve for x. 0x = 4. Give x."


# --- conversations


def test_orz_is_a_list_of_turns_in_a_list_of_rows(tmp_path: Path) -> None:
    rows = [
        [
            {"from": "human", "value": f"What is ${n}+1$?"},
            {"from": "assistant", "ground_truth": {"value": str(n + 1), "pass_at_n": 0.5}},
        ]
        for n in range(2)
    ]
    path = tmp_path / "orz_math_57k_collected.json"
    path.write_text(json.dumps(rows))
    found = load_problems(str(path))
    assert [(p.question, p.answer) for p in found.problems] == [
        ("What is $0+1$?", "1"),
        ("What is $1+1$?", "2"),
    ]
    assert found.layout == "chat"


def test_sharegpt_takes_the_box_of_the_reply(tmp_path: Path) -> None:
    row = {
        "system": "Think.",
        "conversations": [
            {"from": "human", "value": "What is $1+1$?"},
            {"from": "gpt", "value": "It is \\boxed{2}."},
        ],
    }
    assert pair(load(tmp_path, row)) == ("What is $1+1$?", "2")


def test_a_conversation_beside_an_answer_column_asks_its_question(tmp_path: Path) -> None:
    row = {"messages": user("What is $1+1$?"), "answer": "2"}
    assert pair(load(tmp_path, row)) == ("What is $1+1$?", "2")


def test_a_conversation_of_several_questions_is_none(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "What is $1+1$?"},
        {"from": "gpt", "value": "\\boxed{2}"},
        {"from": "human", "value": "And twice that?"},
        {"from": "gpt", "value": "\\boxed{4}"},
    ]
    with pytest.raises(ProblemsError, match="a conversation of 2 questions, not of one"):
        load(tmp_path, {"conversations": turns})


# --- others that were read wrongly without a word


def test_openr1_math_reads_answer_and_not_its_generations(tmp_path: Path) -> None:
    row = {
        "problem": "Find $x$.",
        "solution": "long",
        "answer": "5",
        "problem_type": "Algebra",
        "question_type": "MCQ",
        "source": "aops_forum",
        "uuid": "u-1",
        "is_reasoning_complete": [True],
        "generations": ["<think>so</think> \\boxed{5}"],
        "messages": [*user("Find $x$."), {"role": "assistant", "content": "\\boxed{5}"}],
    }
    [problem] = load(tmp_path, row).problems
    assert (problem.question, problem.answer, problem.problem_id) == ("Find $x$.", "5", "set-u-1")


def test_an_answer_column_of_whole_solutions_gives_their_box(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "First we add, so it is \\boxed{11}."}
    assert pair(load(tmp_path, row))[1] == "11"
