import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tirgen.embedded.architecture import ModelShape, ModelUnsupported
from tirgen.embedded.graph import write_ir
from tirgen.embedded.runtime import ov


def log_probabilities(model_dir: Path, ids: NDArray[np.int64], out: Path) -> NDArray[np.float32]:
    """[time, vocab] of the graph as it stands, without the paged attention."""
    write_ir(model_dir, ModelShape.read(model_dir), out)
    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(str(out / "openvino_model.xml"), "CPU", properties)
    inputs = {
        "input_ids": ids[None],
        "attention_mask": np.ones((1, len(ids)), np.int64),
        "position_ids": np.arange(len(ids))[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    logits = np.asarray(compiled.create_infer_request().infer(inputs)["logits"])[0]
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)), np.float32)


def test_the_graph_agrees_with_transformers(tiny_model: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ids = np.random.default_rng(1).integers(3, 500, 60)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        expected = reference(torch.tensor(ids[None])).logits.log_softmax(-1)[0].numpy()
    assert np.abs(log_probabilities(tiny_model, ids, tmp_path) - expected).max() < 1e-4


def test_a_token_never_sees_what_comes_after_it(tiny_model: Path, tmp_path: Path) -> None:
    ids = np.arange(10, 40)
    changed = ids.copy()
    changed[20:] += 100
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = log_probabilities(tiny_model, ids, tmp_path / "a")
    after = log_probabilities(tiny_model, changed, tmp_path / "b")
    assert np.abs(before[:20] - after[:20]).max() < 1e-5
    assert np.abs(before[20:] - after[20:]).max() > 1e-2


def changed_config(model_dir: Path, out: Path, **changes: object) -> Path:
    config = json.loads((model_dir / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | changes))
    return out


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gemma2"},
        {"use_sliding_window": True},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"hidden_act": "gelu"},
        {"quantization_config": {"quant_method": "awq"}},
        {"partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "linear", "factor": "two"}},
        {"num_hidden_layers": 0},
        {"hidden_size": None},
        {"eos_token_id": None},
    ],
)
def test_a_model_the_graph_cannot_express_is_refused_by_what_it_is(
    tiny_model: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    (name, _), *_ = changes.items()
    told = {"gemma2", "sliding", "gelu", "awq", "part of each head", "longrope", "factor", name}
    with pytest.raises(ModelUnsupported, match="|".join(told)):
        ModelShape.read(changed_config(tiny_model, tmp_path, **changes))


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match=str(tmp_path)):
        ModelShape.read(tmp_path)


def test_several_end_tokens_are_read(tiny_model: Path, tmp_path: Path) -> None:
    config = ModelShape.read(changed_config(tiny_model, tmp_path, eos_token_id=[2, 0]))
    assert config.eos_token_ids == (2, 0)


def test_end_tokens_for_generation_go_before_the_model_s(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}))
    config = ModelShape.read(changed_config(tiny_model, tmp_path))
    assert config.eos_token_ids == (1, 2)
