"""A run form that is left empty trains as the command line does, whichever policy is chosen."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("torch")

from flows.service.dataset_flows import curate, evaluate, generate
from flows.service.forms import filled_in
from flows.service.policy_flows import RoundsForm, SftForm, improve, rl, sft
from flows.training.settings import rounds_settings, sft_settings
from tirgen.embedded.models import MODEL_DIR


def test_an_empty_form_trains_the_pocket_by_its_recipe_and_others_by_the_paper(
    tmp_path: Path,
) -> None:
    """The pocket was trained at 2e-6 with one step of 256 samples, and learned nothing."""
    pocket = sft_settings(MODEL_DIR, None, filled_in(None))
    assert (pocket.optimizer.learning_rate, pocket.batch_samples) == (2e-4, 16)
    other = sft_settings(tmp_path, None, filled_in(None))
    assert (other.optimizer.learning_rate, other.batch_samples) == (2e-6, 256)
    rounds = rounds_settings(MODEL_DIR, "pi", None, filled_in(RoundsForm()))
    assert (rounds.rollouts.groups, rounds.rollouts.dataset) == (48, "pi-rollouts")
    assert rounds.update.optimizer.learning_rate == 1e-4
    assert rounds_settings(tmp_path, "pi", None, {}).update.optimizer.learning_rate == 1e-6


def test_what_is_filled_in_wins_and_the_rest_still_follows_the_policy() -> None:
    form = SftForm.model_validate({"epochs": 3, "optimizer": {"warmup": 5, "clip": None}})
    assert filled_in(form) == {"epochs": 3, "optimizer.warmup": 5}
    settings = sft_settings(MODEL_DIR, None, filled_in(form))
    assert settings.epochs == 3
    assert (settings.optimizer.warmup, settings.optimizer.learning_rate) == (5, 2e-4)


def test_a_deep_setting_leaves_its_neighbours_as_they_are() -> None:
    form = RoundsForm.model_validate({"rollouts": {"branches": {"samples": 4}}})
    rounds = rounds_settings(MODEL_DIR, "pi", None, filled_in(form))
    assert rounds.rollouts.branches is not None
    assert (rounds.rollouts.branches.samples, rounds.rollouts.branches.suffix_tokens) == (4, 10)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"epoch": 1}, {"optimizer": {"learning_rate": "fast"}}]
)
def test_a_form_refuses_what_the_settings_refuse(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SftForm.model_validate(wrong)


FLOWS = [generate, curate, evaluate, sft, rl, improve]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.name))
def test_a_run_form_is_short_and_folds_the_rest(flow: Any) -> None:
    """Prefect shows a field that may be null as one line; every other one is one input."""
    fields = flow.parameters.properties
    assert len(fields) <= 13
    folded = {name for name, field in fields.items() if "anyOf" in field}
    assert folded <= {"config", "alarm"}
    assert "config" in folded
    for name, field in fields.items():
        assert field["description"], name
        if name in folded:
            assert field["default"] is None
        else:
            assert field["type"] in ("string", "integer", "number", "boolean")


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.name))
def test_what_the_ui_sends_back_untouched_is_an_empty_form(flow: Any) -> None:
    """It sends every default of the schema, chosen or not."""
    fields = flow.parameters.properties
    sent = {name: field.get("default", "d") for name, field in fields.items()}
    assert flow.validate_parameters(sent)["config"] is None


@pytest.mark.parametrize("flow", [sft, rl])
def test_every_field_of_a_form_is_described(flow: Any) -> None:
    forms = {n: d for n, d in flow.parameters.definitions.items() if n.endswith("Form")}
    assert "OptimizerConfigForm" in forms
    learning = forms["OptimizerConfigForm"]["properties"]["warmup"]
    assert learning["description"]
