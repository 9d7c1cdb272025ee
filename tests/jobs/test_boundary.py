"""An error of tirgen itself ends one row; too many of them end the job and say why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Ending, Trajectory
from tests.rows import row
from tirgen.engine.errors import EngineMisconfigured
from tirgen.filters.filter_config import FilterConfig
from tirgen.filters.rules import accept
from tirgen.jobs.committed_rows import CODE_VERSION, is_lost
from tirgen.jobs.job import INTERNAL_ERRORS, InternalErrorLimit, TooManyInternalErrors
from tirgen.jobs.maker import describe_error, guarded
from tirgen.verification import VerifierUnavailable, extract_answer

BROKEN = row(ending=Ending.INTERNAL_ERROR)


async def failing(error: Exception) -> Trajectory:
    raise error


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError(), KeyError("x")])
async def test_what_nothing_foresaw_becomes_a_row(error: Exception) -> None:
    assert await guarded(failing(error), lambda error: BROKEN) is BROKEN


@pytest.mark.parametrize(
    "error", [EngineMisconfigured("no model"), VerifierUnavailable("gone"), OSError(28, "full")]
)
async def test_what_every_row_would_meet_ends_the_job(error: Exception) -> None:
    with pytest.raises(type(error)):
        await guarded(failing(error), lambda error: BROKEN)


def test_an_internal_error_names_its_type_and_place() -> None:
    with pytest.raises(TypeError) as raised:
        extract_answer(None)  # type: ignore[arg-type]
    said = describe_error(raised.value)
    assert said.startswith("internal error of tirgen: TypeError in tirgen/verification/")
    assert ".py:" in said


def test_it_is_no_fault_of_the_policy_and_of_no_reward() -> None:
    assert Ending.INTERNAL_ERROR.is_infrastructure
    assert BROKEN.reward is None


def test_no_rule_looks_at_a_row_on_which_tirgen_failed() -> None:
    verdicts = accept(replace(BROKEN, verdict=None, error="where"), FilterConfig())
    assert [(v.rule, v.kept) for v in verdicts] == [("program", True), ("infrastructure", False)]


def test_only_another_tirgen_makes_such_a_row_again() -> None:
    assert not is_lost(Ending.INTERNAL_ERROR, CODE_VERSION)
    assert is_lost(Ending.INTERNAL_ERROR, "0.0.1")
    assert is_lost(Ending.ENGINE_ERROR, CODE_VERSION)


def test_some_may_break_in_a_long_run_and_not_more() -> None:
    limit = InternalErrorLimit()
    for _ in range(INTERNAL_ERRORS):
        limit.check(BROKEN)
    with pytest.raises(TooManyInternalErrors, match=f"{INTERNAL_ERRORS + 1} of"):
        limit.check(BROKEN)
    patient = InternalErrorLimit()
    for number in range(10_000):
        patient.check(BROKEN if number % 60 == 0 else row())
