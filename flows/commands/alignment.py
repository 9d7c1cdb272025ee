"""``tirgen dataset alignment``: how likely a policy finds the data of one or more datasets."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.options import DEFAULT_STORE, AtLeastOne, Json, StorePath, read_store
from flows.terminal.console import print_json, say
from flows.terminal.failures import require_training
from flows.terminal.progress import CountDisplay
from flows.terminal.tables import show_rows
from flows.training.models import find_model
from storage.records import Trajectory
from storage.versions import DatasetVersion
from tirgen.engine.renderer import HfRenderer
from tirgen.evaluation.estimates import Estimate
from tirgen.tir.markup import render_step
from tirgen.tir.prompts import PromptSet, find_prompts

if TYPE_CHECKING:  # needs torch
    from trainer.scoring import Document, ResponsePart


def alignment_command(
    name: str,
    /,
    *others: str,
    policy: str,
    prompts: str = "standard",
    rows: AtLeastOne = 200,
    seed: int = 0,
    plot: Path | None = None,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Show how likely a policy finds the kept trajectories of one or more datasets.

    Prints the mean log-probability of a token in nats, by step kind; a value nearer to 0 is nearer
    to the policy's own text. All rows are scored under the prompt that asks for programs.

    Example: tirgen dataset alignment tir tora --policy ./Qwen2.5-Math-7B

    Parameters
    ----------
    name
        A dataset, or one version of it as NAME@vN.
    others
        More datasets, to compare.
    policy
        Folder of a model in Hugging Face layout, or a published policy as NAME or NAME@vN.
    prompts
        Prompt set: the name of a shipped one, or a folder.
    rows
        Trajectories drawn from each dataset.
    seed
        Seed of the draw.
    plot
        Also draw the figure into this file, as SVG, PNG or PDF by its ending.
    """
    require_training("scoring")
    opened = read_store(store)
    folder = find_model(opened, str(Path(policy).expanduser())).folder
    asked = find_prompts(prompts)
    versions = [opened.version(each) for each in (name, *others)]
    found = [line for version in versions for line in _lines(version, folder, asked, rows, seed)]
    if plot:
        _draw(plot, found)
    if json:
        print_json(found)
    else:
        show_rows(found, f"Log-probability under {policy}")


def _lines(
    version: DatasetVersion, policy: Path, prompts: PromptSet, rows: int, seed: int
) -> list[dict[str, Any]]:
    """A row for each step kind."""
    from trainer.scoring import likelihoods

    renderer = HfRenderer.load(policy)
    kept = int(version.manifest["kept_rows"])
    chosen = set(random.Random(seed).sample(range(kept), min(rows, kept)))
    found_kept = (row for row in version.read() if row.kept)
    drawn = [row for place, row in enumerate(found_kept) if place in chosen]
    if not drawn:
        say(f"{version} has no kept trajectories")
        return []
    documents = [_document(row, renderer, prompts) for row in drawn]
    with CountDisplay(f"score {version}") as display:
        found = likelihoods(documents, policy, display.count)
    return [
        {
            "dataset": str(version),
            "trajectories": len(drawn),
            "kind": kind.value,
            "tokens": of.tokens,
            "mean_logprob": of.mean_logprob if of.tokens else None,
        }
        for kind, of in found.items()
    ]


def _draw(path: Path, found: list[dict[str, Any]]) -> None:
    """A panel for each step kind with a mark for each dataset: minus the log-probability."""
    from flows.terminal.plots import Marks, marks_plot

    panels = []
    for kind in dict.fromkeys(line["kind"] for line in found):
        surprise = {
            line["dataset"]: -line["mean_logprob"]
            for line in found
            if line["kind"] == kind and line["tokens"]
        }
        values = {name: Estimate(value=v, low=v, high=v) for name, v in surprise.items()}
        panels.append(Marks(title=f"{kind}: -log p of a token (nats)", values=values))
    marks_plot(panels).save(path)


def _document(row: Trajectory, renderer: HfRenderer, prompts: PromptSet) -> Document:
    """The recorded tokens if they are of this policy's tokenizer, else the tokens of the text."""
    from trainer.scoring import from_stream, from_text

    prompt = renderer.prompt_ids(prompts.for_tir(row.problem.question))
    return from_stream(row, renderer, prompt) or from_text(row, pieces(row), renderer, prompt)


def pieces(row: Trajectory) -> list[ResponsePart]:
    """A trajectory as text in the TIR format, cut where the step kind changes."""
    from trainer.scoring import ResponsePart, StepPart

    found = []
    for step in row.steps:
        thought = f"{step.thought}\n" if step.thought and step.action is not None else step.thought
        found.append(ResponsePart(StepPart.THOUGHT, thought))
        if step.action is not None:
            program = render_step("", step.action, None)
            shown = render_step("", step.action, step.observation)
            found += [
                ResponsePart(StepPart.ACTION, program),
                ResponsePart(None, shown[len(program) :]),
            ]
    return [piece for piece in found if piece.text]
