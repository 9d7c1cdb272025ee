"""``tirgen serve``: a model behind vLLM's API on this machine, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from flows.commands.options import AtLeastOne, Port
from flows.terminal.console import say
from tirgen.embedded.models import MODEL_DIR, model_name
from tirgen.embedded.serving_settings import ServingSettings
from tirgen.engine.engine_config import Precision
from tirgen.settings import ConfigError

_Positive = Annotated[float, Parameter(validator=validators.Number(gt=0))]


def serve_command(
    model_dir: Path | None = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    name: str | None = None,
    precision: Precision = Precision.FLOAT32,
    threads: AtLeastOne = 1,
    max_sequences: AtLeastOne = 128,
    context: AtLeastOne | None = None,
    cache_gib: _Positive = 4.0,
) -> None:
    """Serve a model with vLLM's OpenAI-compatible API until interrupted.

    Llama, Qwen2 and Qwen3 from a Hugging Face folder; by default the pocket that ships with tirgen.

    Examples:

        tirgen serve

        tirgen serve .models/smollm2 --precision int8 --threads 2

    Parameters
    ----------
    model_dir
        A model in the Hugging Face layout; by default the one that ships with tirgen.
    host
        Address to bind; any but loopback needs a key in TIRGEN_SERVE_API_KEY.
    port
        Port to bind; 0 takes any free one.
    name
        What clients call the model; by default the folder's name.
    precision
        float32 agrees with a trainer's log-probabilities; bfloat16 needs a processor with it; int8
        keeps the matrices in 8 bits.
    threads
        Compute threads.
    max_sequences
        Sequences generated at once; more wait.
    context
        Longest prompt plus completion in tokens, if less than the model's own.
    cache_gib
        Memory for keys and values, at most.
    """
    from tirgen.embedded.architecture import ModelUnsupported
    from tirgen.embedded.server import serve

    folder = model_dir or MODEL_DIR
    called = name or model_name(folder)
    settings = ServingSettings(
        precision=precision,
        threads=threads,
        max_sequences=max_sequences,
        context=context,
        cache_gib=cache_gib,
    )

    def announce(base_url: str) -> None:
        say(f"serving on {base_url} (model name: {called}); stop with Ctrl-C")

    try:
        serve(folder, host=host, port=port, model=called, settings=settings, ready=announce)
    except ModelUnsupported as error:
        raise ConfigError(str(error)) from None
