"""The ``tirgen`` command: its commands, and the boundary every failure passes on its way out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from flows.commands import dataset, pocket, policy, sandbox, traj
from flows.commands.doctor import doctor_command
from flows.commands.evaluate import evaluate_command
from flows.commands.generate import demo_command, generate_command
from flows.commands.improve import improve_command
from flows.commands.service import down_command, status_command, up_command
from flows.commands.sql import sql_command
from flows.commands.verify import verify_command
from flows.commands.view import view_command
from flows.failures import DONE, USAGE, Failure, classify, report

app = App(
    name="tirgen",
    suppress_keyboard_interrupt=False,
    version=version("tirgen"),
    help=(
        "Verified tool-integrated reasoning data: an actor reasons, a critic writes Python, "
        "a sandbox runs it, a verifier checks, filters keep the good, SQL sees it all.\n\n"
        "Start with: tirgen demo"
    ),
)
app.command(demo_command, name="demo")
app.command(generate_command, name="generate")
app.command(dataset.app)
app.command(traj.app)
app.command(sql_command, name="sql")
app.command(view_command, name="view")
app.command(policy.app)
app.command(evaluate_command, name="eval")
app.command(improve_command, name="improve")
app.command(pocket.app)
app.command(sandbox.app)
app.command(doctor_command, name="doctor")
app.command(verify_command, name="verify")
app.command(up_command, name="up")
app.command(down_command, name="down")
app.command(status_command, name="status")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; failures are told, never raised."""
    try:
        app(arguments, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:
        if "--json" in arguments:
            report(Failure("usage", str(error), "add --help to the command", USAGE), as_json=True)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has enough
        return DONE
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else DONE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one boundary
        failure = classify(error)
        report(failure, as_json="--json" in arguments)
        return failure.code
    return DONE


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(run(sys.argv[1:]))
