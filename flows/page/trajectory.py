"""One trajectory as a self-contained HTML page: steps, verdict, filters, provenance.

Hostile text is inert in it: Jinja escapes everything, formulas pass an allow-list, the page's own
policy (`POLICY`) lets no request out and runs no script but its own, named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

from jinja2 import Template
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from flows.page.mathematics import answer_with_mathematics, with_mathematics
from flows.page.template import page_template, text_of
from flows.terminal.differences import differences
from storage.records import Attempt, Outcome, Step, Trajectory
from storage.text import to_json, visible

_SCRIPT: Final = text_of("page.js")
_SCRIPT_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'; "
    "base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy that the page has in itself; a server sends it as well."""
_LONGEST_HIGHLIGHT: Final = 50_000
"""Characters of code that are coloured; longer code is shown plain."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another attempt at the same problem."""

    attempt: int
    reward: float | None
    """As `Trajectory.reward`."""
    link: str | None
    """Where its page is; None in a file, which has no neighbours beside it."""
    current: bool = False


def trajectory_page(trajectory: Trajectory, attempts: Sequence[Neighbour] = ()) -> str:
    """The whole page as HTML, `attempts` being all attempts at its problem in order."""
    return _template().render(
        t=trajectory,
        attempts=attempts,
        policy=POLICY,
        made=datetime.fromtimestamp(trajectory.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        dropped=[one for one in trajectory.filters if not one.kept],
        passed=[one.rule for one in trajectory.filters if one.kept],
        provenance={k: v for k, v in asdict(trajectory.provenance).items() if v is not None},
        record=to_json(asdict(trajectory)),
        css=Markup(_styles()),
        script=Markup(_SCRIPT),
    )


@cache
def _template() -> Template:
    template = page_template(
        "page.html.jinja", math=with_mathematics, answer=answer_with_mathematics, code=_code
    )
    template.globals.update(differences=differences, outcome=_outcome)
    return template


@cache
def _styles() -> str:
    light, dark = (
        HtmlFormatter(style=style).get_style_defs(".code")  # type: ignore[no-untyped-call]
        for style in ("xcode", "github-dark")
    )
    return f"{text_of('page.css')}{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def _code(code: str) -> Markup:
    """Python as coloured HTML; the lines as they are."""
    text = visible(code)
    if len(text) > _LONGEST_HIGHLIGHT:
        return escape(text)
    coloured = highlight(text, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return Markup(coloured)


def _outcome(call: Step | Attempt) -> str:
    """How the code ended, as a class of the style sheet."""
    if call.outcome is None or call.outcome is Outcome.INFRA_ERROR:
        return "unknown"
    return "good" if call.outcome.passed else "bad"
