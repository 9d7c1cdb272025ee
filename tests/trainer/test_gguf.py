"""What a GGUF file must say to be converted; `tests/embedded/test_smollm2.py` reads a whole one."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

from trainer.gguf import GgufUnsupported, convert  # noqa: E402


@pytest.mark.parametrize("split", ["deepseek-llm", None])
def test_a_tokenizer_that_would_split_otherwise_is_refused(
    tmp_path: Path, split: str | None
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    if split:
        writer.add_tokenizer_pre(split)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(GgufUnsupported, match=split or "none"):
        convert(tmp_path / "model.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
