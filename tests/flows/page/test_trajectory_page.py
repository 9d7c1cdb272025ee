"""The page of a trajectory: what it shows, and that nothing of the trajectory's text acts in it."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli import run
from flows.page.folder import write_pages
from flows.page.mathematics import with_mathematics
from flows.page.trajectory import POLICY, Neighbour, trajectory_page
from flows.terminal.differences import differences
from storage.datasets import Store
from storage.errors import InvalidName
from storage.records import Attempt, FilterVerdict, Outcome, Step, Trajectory, Verdict
from tests.rows import row

HOSTILE = (
    "\x1b]0;owned\x07 \u202egpj \ud800 <img src=http://evil/x onerror=alert(1)>"
    "<script>alert(1)</script> $\\href{javascript:alert(1)}{x}$ $\\style{background:url(//e)}{y}$ "
    "{{ 7*191 }} {% raw %} </style></pre></table> \\(\\text{<script>alert(1)</script>}\\)"
)
OWN_TAGS = {
    "a", "body", "button", "del", "details", "div", "figure", "h1", "h2", "h3", "head", "header",
    "html", "ins", "main", "meta", "nav", "pre", "script", "section", "span", "style", "summary",
    "table", "td", "th", "title", "tr",
}  # fmt: skip
OWN_ATTRIBUTES = {
    "aria-label", "charset", "class", "content", "data-copy", "hidden", "href", "http-equiv", "id",
    "lang", "name", "rel", "xmlns",
}  # fmt: skip
MATHML = {
    "math", "menclose", "mfrac", "mi", "mn", "mo", "mover", "mpadded", "mphantom", "mroot", "mrow",
    "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup", "mtable", "mtd", "mtext", "mtr",
    "munder", "munderover", "ms", "mmultiscripts", "mprescripts",
}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {str(value) for name, value in attrs if name == "href"}

    def handle_data(self, data: str) -> None:
        self.text += data


def trajectory(text: str = "") -> Trajectory:
    made = row(kept=True)
    step = Step(
        thought=text or "Half of it is $\\frac{1}{2}$, so \\boxed{25 \\text{ coins}}.",
        action=text or "print(1 < 2)",
        observation=text or "True",
        outcome=Outcome.ERROR,
        draft=text or "Half of it is one third.",
        attempts=(
            Attempt(
                thought=text or "first", action=text or "1/0", observation=text or "ZeroDivision",
                outcome=Outcome.TIMEOUT,
            ),
        ),
    )  # fmt: skip
    return replace(
        made,
        steps=(step,),
        problem=replace(made.problem, question=text or "What is $x^2$ for $5?"),
        final_answer=text or "\\frac{3}{4}",
        error=text or None,
        verdict=Verdict(
            correct=False, method=text or "equal", reason=text or "another number",
            gold_value=text or "number 1", answer_value=text or "number 3/4",
        ),
        filters=(
            FilterVerdict(rule="boxed", kept=True),
            FilterVerdict(rule=text or "correct", kept=False, reason=text or "is wrong"),
        ),
    )  # fmt: skip


def test_everything_is_on_the_page() -> None:
    made = trajectory()
    page = Page(trajectory_page(made))
    for words in (
        made.trajectory_id, "wrong", "dropped", "Step 1", "Failed try 1", "ZeroDivision", "timeout",
        "print(1 < 2)", "number 3/4", "another number", "is wrong", "boxed", "one third",
        made.provenance.run_id,
    ):  # fmt: skip
        assert words in page.text, words
    assert {"mfrac", "menclose", "del", "ins"} <= set(page.tags)


@pytest.mark.parametrize("text", ["", HOSTILE])
def test_nothing_on_the_page_acts_or_asks_elsewhere(text: str) -> None:
    written = trajectory_page(trajectory(text), [Neighbour(0, 1.0, "/trajectories/t0")])
    page = Page(written)
    assert set(page.tags) <= OWN_TAGS | MATHML
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert page.attributes <= OWN_ATTRIBUTES | {"display", "notation", "mathvariant", "stretchy"}
    assert not page.links, "one attempt alone has no neighbours"
    assert "{{" not in written or text
    assert "<script>alert" not in written
    assert "1337" not in page.text
    written.encode()


def test_the_policy_of_the_page_lets_no_request_out() -> None:
    assert f'content="{POLICY}"'.replace("'", "&#39;") in trajectory_page(trajectory())
    assert "default-src 'none'" in POLICY
    assert "unsafe-inline" not in POLICY.split("script-src")[1]


def test_attempts_are_linked_but_for_the_page_itself() -> None:
    attempts = [
        Neighbour(0, 0.0, "/trajectories/t0", current=True),
        Neighbour(1, 1.0, "/trajectories/t1"),
        Neighbour(2, None, None),
    ]
    page = Page(trajectory_page(trajectory(), attempts))
    assert page.links == {"/trajectories/t1"}
    assert all(f"attempt {one.attempt}" in page.text for one in attempts)


def test_a_file_names_the_other_attempts_and_a_folder_links_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    rows = [row("p1", 0), row("p1", 1, kept=True), row("p1", 2), row("p2", 0)]
    store.open_run("d", {}, "h").append(rows)
    own = rows[1].trajectory_id
    words = ["traj", "show", own, "--store", str(store.root), "--html"]
    assert run([*words, str(tmp_path / "one.html")]) == 0
    alone = Page((tmp_path / "one.html").read_text())
    assert not alone.links
    assert all(f"attempt {n}" in alone.text for n in range(3))
    (tmp_path / "pages").mkdir()
    assert run([*words, str(tmp_path / "pages")]) == 0
    names = [f"{one.trajectory_id}.html" for one in rows[:3]]
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {*names, "index.html"}
    for number, name in enumerate(names):
        page = Page((tmp_path / "pages" / name).read_text())
        assert page.links == set(names) - {name}
        assert ("‹ previous" in page.text, "next ›" in page.text) == (number > 0, number < 2)
    listed = Page((tmp_path / "pages" / "index.html").read_text())
    assert listed.links == set(names)


def test_an_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidName):
        write_pages(tmp_path / "pages", [replace(row(), trajectory_id="../../out")])
    assert not (tmp_path.parent / "out.html").exists()


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (r"so $\frac{1}{2}$ is", "mfrac"), (r"so \(\sqrt{2}\) is", "msqrt"),
        (r"\[x^2\]", "msup"), ("$$\nx_1\n$$", "msub"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "mtable"),
        (r"is \boxed{\frac{1}{2}}", "menclose"),
    ],
)  # fmt: skip
def test_formulas_are_set(text: str, tag: str) -> None:
    assert tag in Page(with_mathematics(text)).tags


@pytest.mark.parametrize(
    "text",
    [
        "it costs $5 and $6", "between 3$ and 4$", "a $ b $ c", r"\boxed{", r"$\frac{1$", "$" * 50,
        "$" + "{" * 3000 + "}" * 3000 + "$", "$" + "{" * 100 + "}" * 100 + "$", r"\(" + "x" * 5000,
        "$a\n\nb$", r"\$5 and \$6", "x < y & z > w",
    ],
)  # fmt: skip
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    page = Page(with_mathematics(text))
    assert (page.tags, page.text) == ([], text)


@given(st.text(alphabet=r"$\{}[]()<>&ab1 ^_\n\"'", max_size=60))
def test_no_text_becomes_anything_but_mathematics(text: str) -> None:
    page = Page(with_mathematics(text))
    assert set(page.tags) <= MATHML
    assert not page.links


@given(st.text(alphabet="ab 1.\n"), st.text(alphabet="ab 1.\n"))
def test_differences_lead_from_one_text_to_the_other(old: str, new: str) -> None:
    runs = differences(old, new)
    assert "".join(run.text for run in runs if run.kind != "in") == old
    assert "".join(run.text for run in runs if run.kind != "out") == new
