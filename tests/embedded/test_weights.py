"""Weights are read as float32, whatever they are stored in."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from tirgen.embedded.weights import load_tensors

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_type_of_weights_reads_as_torch_reads_it(tmp_path: Path, dtype: str) -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(7, 5, generator=generator) * 10.0 ** torch.arange(-3, 2)
    stored = {"a": values.to(getattr(torch, dtype)), "b": torch.tensor([1.0]).to(values)}
    safetensors_torch.save_file(stored, tmp_path / "w.safetensors")
    read = load_tensors(tmp_path / "w.safetensors")
    assert read.keys() == stored.keys()
    for name, tensor in stored.items():
        assert read[name].dtype == np.float32
        assert np.array_equal(read[name], tensor.float().numpy())


def test_tensors_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    safetensors_torch.save_file({"a": torch.tensor([1, 2])}, tmp_path / "w.safetensors")
    with pytest.raises(SafetensorError, match="I64 are not weights"):
        load_tensors(tmp_path / "w.safetensors")
