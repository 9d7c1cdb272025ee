"""The table of commands: the function of each, and a one-line summary.

Only the module of the called command is imported; `tirgen --help` and the answer to a mistyped
command need this table alone. A test checks that every summary is the first line of the command's
own help.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import NamedTuple

from cyclopts import App


class Command(NamedTuple):
    """A command with a function of its own."""

    place: str
    """Its function, as `module:name` below `flows.commands`."""
    summary: str


GROUPS = {
    "dataset": "Published dataset versions.",
    "traj": "Single trajectories.",
    "policy": "Policies: trained from dataset versions, named, with their lineage.",
    "pocket": "The pocket: the model that ships with tirgen.",
    "sandbox": "The sandbox that model-written code runs in.",
    "prompts": "Prompt sets: what actor, critic and policies are asked.",
}
"""Nouns that a verb follows."""

COMMANDS = {
    "demo": Command(
        "generate:demo_command",
        "Run the main job on the embedded engine: no network, no key, no accelerator.",
    ),
    "generate": Command(
        "generate:generate_command",
        "Generate verified TIR trajectories and publish them as the dataset's next version.",
    ),
    "dataset list": Command("published:list_datasets", "List the latest version of every dataset."),
    "dataset show": Command(
        "published:show_dataset",
        "Show one dataset: its versions, and the manifest and yield of the one named.",
    ),
    "dataset check": Command(
        "published:check_dataset",
        "Compare every file with what was written: manifests, rows, runs and their logs.",
    ),
    "dataset diff": Command(
        "versions:diff_command",
        "Compare two versions: rows gained and lost, yield by rule, figures, changed verdicts.",
    ),
    "dataset tag": Command(
        "versions:tag_command",
        "Give a version a name of your own, which every command takes as NAME@TAG.",
    ),
    "dataset gc": Command(
        "versions:gc_command",
        "Remove old versions that nothing needs; show why each other version stays.",
    ),
    "dataset export": Command(
        "export:export_command", "Export a version for other trainers, graders and tools."
    ),
    "dataset push": Command(
        "hub:push_command",
        "Push a dataset version to the Hugging Face Hub, as a dataset that anyone's tools read.",
    ),
    "dataset pull": Command(
        "hub:pull_command",
        "Pull a dataset version that was pushed to the Hub, and publish it as the next version "
        "here.",
    ),
    "dataset curate": Command(
        "curate:curate_command",
        "Filter a version again with other settings and publish the result as the next version.",
    ),
    "dataset import": Command(
        "importing:import_command",
        "Import published trajectories: programs run again, answers judged again.",
    ),
    "dataset alignment": Command(
        "alignment:alignment_command",
        "Show how likely a policy finds the kept trajectories of one or more datasets.",
    ),
    "watch": Command(
        "watch:watch_command",
        "Watch a run or a training from any terminal that sees the store, until it ends.",
    ),
    "report": Command(
        "report:report_command",
        "Write a page of charts about a dataset version, a run or a policy, with the SQL behind "
        "each.",
    ),
    "traj list": Command("traj:list_command", "List trajectories, those that went wrong first."),
    "traj show": Command(
        "traj:show_command",
        "Show one trajectory: its thoughts, code and outputs, and every verdict with its reason.",
    ),
    "traj diff": Command(
        "traj:diff_command",
        "Compare two attempts at one problem, of one policy or of two, step by step.",
    ),
    "sql": Command("sql:sql_command", "Ask the store in DuckDB's SQL, read-only."),
    "verify": Command(
        "verify:verify_command",
        "Say whether an answer is right, what both were read as, and by which rule.",
    ),
    "view": Command(
        "view:view_command",
        "Read trajectories in a browser: thought, code and output, sorted and searched by score.",
    ),
    "policy sft": Command(
        "train:sft_command",
        "Fine-tune a policy on the kept rows of a dataset version, and publish it.",
    ),
    "policy rl": Command(
        "train:rl_command",
        "Take a policy through rounds of hierarchical RL; each publishes its next version.",
    ),
    "policy list": Command(
        "published:list_policies",
        "List every policy version, with its parent and the dataset version it learned from.",
    ),
    "policy show": Command(
        "published:show_policy", "Show one policy version and the rounds of RL that led to it."
    ),
    "policy check": Command(
        "published:check_policy",
        "Compare the files of a version and of its trainings with what was written.",
    ),
    "eval": Command(
        "evaluate:evaluate_command",
        "Evaluate a policy: avg@k, pass@k, maj@k with intervals, code ratio, pass rate, cost.",
    ),
    "improve": Command(
        "improve:improve_command",
        "Generate, fine-tune, take through rounds of RL, and evaluate every stage.",
    ),
    "serve": Command(
        "serve:serve_command", "Serve a model with vLLM's OpenAI-compatible API until interrupted."
    ),
    "pocket train": Command(
        "pocket:train",
        "Pretrain a pocket model from scratch on the packaged problem families.",
    ),
    "sandbox serve": Command(
        "sandbox:serve",
        "Serve the sandbox over HTTP with SandboxFusion's /run_code until interrupted.",
    ),
    "sandbox mcp": Command(
        "sandbox:mcp",
        "Offer the sandbox to an MCP client, which starts this command: one tool, run_python.",
    ),
    "prompts show": Command(
        "prompts:show_command", "Show one example of each prompt of a set, as a model reads it."
    ),
    "prompts check": Command(
        "prompts:check_command",
        "Check a set's files, and that a model's chat template keeps them; exit 1 when it fails.",
    ),
    "doctor": Command(
        "doctor:doctor_command",
        "Check Python, store, engine, sandbox, verifier and extras; exit 4 when one fails.",
    ),
    "up": Command(
        "service:up_command",
        "Start the service: Prefect's server and UI, a worker for each pool, all deployments.",
    ),
    "down": Command(
        "service:down_command",
        "Stop what `tirgen up` started; its runs continue after the next `tirgen up`.",
    ),
    "status": Command(
        "service:status_command", "List the running processes that `tirgen up` started."
    ),
}


def called(arguments: Sequence[str]) -> str:
    """The words of a command line that name its command or group; empty without any."""
    words: list[str] = []
    for argument in arguments:
        name = " ".join([*words, argument])
        if name in GROUPS or name in COMMANDS:
            words.append(argument)
        elif not argument.startswith("-"):
            break
    return " ".join(words)


def tree(loaded: Sequence[str] = tuple(COMMANDS)) -> App:
    """The command line; only the `loaded` commands can be run, the others are only listed."""
    app = App(
        name="tirgen",
        suppress_keyboard_interrupt=False,
        version=lambda: version("tirgen"),
        # Rendering markdown takes half the time of a list of commands, which needs none.
        help_format="markdown" if any(words in COMMANDS for words in loaded) else "plaintext",
        help=(
            "Verified tool-integrated reasoning data: an actor reasons, a critic writes Python, "
            "a sandbox runs it, a verifier checks, filters keep the good, SQL sees it all.\n\n"
            "Start with: tirgen demo"
        ),
    )
    groups = {name: App(name=name, version_flags=(), help=what) for name, what in GROUPS.items()}
    for words, command in COMMANDS.items():
        group, _, verb = words.rpartition(" ")
        if (
            group
            and verb == next(name for name in COMMANDS if name.startswith(f"{group} ")).split()[1]
        ):
            app.command(groups[group])
        parent = groups[group] if group else app
        if words in loaded:
            parent.command(_function(command), name=verb)
        else:
            parent.command(App(name=verb, help=command.summary))
    return app


def _function(command: Command) -> Callable[..., None]:
    module, _, name = command.place.partition(":")
    function: Callable[..., None] = getattr(
        importlib.import_module(f"flows.commands.{module}"), name
    )
    return function
