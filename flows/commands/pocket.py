"""``tirgen pocket``: the model that ships with tirgen, trained from scratch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from flows.commands.options import Json
from flows.terminal.console import print_json, say
from flows.terminal.failures import require_training


def train(
    out: Path,
    /,
    *,
    variant: Literal["base", "thinking"] = "base",
    seed: int = 0,
    tokens: int | None = None,
    json: Json = False,
) -> None:
    """Pretrain a pocket model from scratch on the packaged problem families.

    Writes the model, loss.jsonl and loss.svg to OUT; started again, it continues.

    Example: tirgen pocket train pocket-model --seed 1

    Parameters
    ----------
    out
        Folder for the model.
    variant
        base answers in short steps and writes programs; thinking thinks at length.
    seed
        Same seed, same weights.
    tokens
        Size of the corpus; by default that of the packaged variant.
    """
    require_training("training")
    from tirgen.embedded.pocket.corpus import VARIANTS, write_corpus
    from trainer.pretrain import PretrainConfig
    from trainer.pretrain import train as pretrain

    corpus = out / "corpus"
    say(f"writing the corpus to {corpus}")
    written = write_corpus(corpus, variant=VARIANTS[variant], seed=seed, tokens=tokens)
    say(f"{written.samples} samples, {written.tokens} tokens")
    summary = pretrain(corpus, out, PretrainConfig(seed=seed))
    if json:
        print_json(asdict(summary))
    say(f"loss {summary.loss:.3f} after {summary.seconds:.0f} s; the model is in {out}")
    say(f"serve it: tirgen serve {out}")
