"""``tirgen pocket``: the embedded model, served and trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from flows.commands.common import AtLeastOne, Port
from flows.console import Json, print_json, say
from flows.extras import require_training
from tirgen.pocket.names import MODEL_DIR
from tirgen.settings import ConfigError


def serve(
    model_dir: Path | None = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    threads: AtLeastOne = 1,
) -> None:
    """Serve a pocket model with vLLM's OpenAI-compatible API until interrupted.

    Example: tirgen pocket serve --port 8000

    Parameters
    ----------
    model_dir
        A model in the Hugging Face layout; by default the one that ships with tirgen.
    host
        Address to bind; any but loopback needs a key in TIRGEN_POCKET_API_KEY.
    port
        Port to bind; 0 takes any free one.
    threads
        Compute threads.
    """
    from tirgen.pocket.qwen3 import ModelUnsupported
    from tirgen.pocket.server import serve as serve_forever

    try:
        serve_forever(
            model_dir or MODEL_DIR, host=host, port=port, threads=threads, ready=_announce
        )
    except ModelUnsupported as error:
        raise ConfigError(f"{error} (tirgen pocket train makes a model)") from None


def _announce(base_url: str) -> None:
    say(f"serving on {base_url} (model name: pocket); stop with Ctrl-C")


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

    Leaves the model, loss.jsonl and loss.svg in OUT; started again, it continues.

    Example: tirgen pocket train pocket-model --seed 1

    Parameters
    ----------
    out
        Folder for the model.
    variant
        The model that answers in short steps and writes programs, or the one that thinks at length.
    seed
        Same seed, same weights.
    tokens
        Size of the corpus; by default what the shipped variant was trained on.
    """
    require_training("training")
    from tirgen.pocket.corpus import VARIANTS, write_corpus
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
    say(f"serve it: tirgen pocket serve {out}")
