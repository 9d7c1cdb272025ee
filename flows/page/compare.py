"""Two attempts at one problem as a self-contained HTML page without a script."""

from __future__ import annotations

from markupsafe import Markup

from flows.page.mathematics import answer_with_mathematics, with_mathematics
from flows.page.report import POLICY
from flows.page.template import page_template, text_of
from flows.terminal.comparison import TrajectoryComparison


def comparison_page(compared: TrajectoryComparison) -> str:
    """The whole page; what only one attempt has is marked."""
    template = page_template(
        "compare.html.jinja", math=with_mathematics, answer=answer_with_mathematics
    )
    return template.render(c=compared, policy=POLICY, css=Markup(text_of("page.css")))
