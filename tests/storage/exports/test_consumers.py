"""The exports read by those they are for: TRL, transformers' templates, datasets, Harbor, verl.

They bring much with them, so these tests are skipped where they are not installed;
docs/exports.md says how to run them.
"""

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from storage.datasets import Store
from storage.exports.common import Texts
from storage.exports.conversations import PYTHON_TOOL
from storage.exports.folder import card, write_folder
from storage.exports.formats import SPECS, ExportFormat
from storage.exports.write import FileColumns, write_rows
from storage.records import Outcome, Step, Trajectory, Verdict
from tirgen.embedded.models import MODEL_DIR

Make = Callable[..., Trajectory]
OUTPUT = "zebra output 42"
TEXTS = Texts(
    tool_prompt=lambda problem: problem.question,
    plain_prompt=lambda problem: problem.question,
    response=lambda steps: "".join(
        f"{s.thought}{s.action or ''}{s.observation or ''}" for s in steps
    ),
)


@pytest.fixture
def rows(make_trajectory: Make) -> list[Trajectory]:
    steps = (
        Step(
            thought="Let me compute it.",
            action="print(6 * 7)",
            observation=OUTPUT,
            outcome=Outcome.OK,
        ),
        Step(thought="So the answer is \\boxed{42}."),
    )
    wrong = Verdict(correct=False, method="symbolic", reason="no")
    return [
        row
        for n in range(4)
        for row in (
            make_trajectory(f"p{n}", 0, steps=steps),
            make_trajectory(f"p{n}", 1, steps=steps[1:], verdict=wrong, final_answer="41"),
        )
    ]


def exported(rows: list[Trajectory], format: ExportFormat, path: Path) -> Path:
    spec = SPECS[format]
    write_rows(spec.rows(rows, TEXTS), path, FileColumns(spec.schema))
    return path


@pytest.fixture(scope="module")
def qwen3() -> tuple[Any, Any]:
    """A tiny Qwen3 and a byte-level tokenizer with its chat template, made here."""
    pytest.importorskip("trl")
    transformers = pytest.importorskip("transformers")
    import trl
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    specials = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    templates = Path(trl.__file__).parent / "chat_templates"
    fast.chat_template = (templates / "qwen3.jinja").read_text()
    config = transformers.Qwen3Config(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    return transformers.Qwen3ForCausalLM(config), fast


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_qwen3s_template_renders_calls_and_outputs(
    rows: list[Trajectory], tmp_path: Path, qwen3: tuple[Any, Any], ending: str
) -> None:
    datasets = pytest.importorskip("datasets")
    _, tokenizer = qwen3
    path = exported(rows, ExportFormat.TOOLS, tmp_path / f"sft{ending}")
    kind = "json" if ending == ".jsonl" else "parquet"
    row = datasets.load_dataset(kind, data_files=str(path), split="train")[0]
    text = tokenizer.apply_chat_template(
        row["messages"], tools=json.loads(row["tools"]), tokenize=False
    )
    assert '<tool_call>\n{"name": "python", "arguments": {"code": "print(6 * 7)"}}' in text
    assert f"<tool_response>\n{OUTPUT}\n</tool_response>" in text
    assert PYTHON_TOOL["function"]["description"] in text


def test_trl_trains_on_calls_and_never_on_outputs(
    rows: list[Trajectory], tmp_path: Path, qwen3: tuple[Any, Any]
) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    model, tokenizer = qwen3
    path = exported(rows[::2], ExportFormat.TOOLS, tmp_path / "sft.parquet")
    config = trl.SFTConfig(
        output_dir=str(tmp_path / "out"),
        assistant_only_loss=True,
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        max_length=None,
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=config,
        train_dataset=datasets.load_dataset("parquet", data_files=str(path), split="train"),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    learned = [
        tokenizer.decode(ids[labels != -100])
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)
    ]
    assert all("print(6 * 7)" in text and "boxed{42}" in text for text in learned)
    assert not any("zebra" in text for text in learned)
    assert trainer.train().training_loss > 0


def test_trls_dpo_takes_a_step_on_pairs(
    rows: list[Trajectory], tmp_path: Path, qwen3: tuple[Any, Any]
) -> None:
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    model, tokenizer = qwen3
    path = exported(rows, ExportFormat.PAIRS, tmp_path / "pairs.parquet")
    config = trl.DPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=deepcopy(model),
        args=config,
        train_dataset=datasets.load_dataset("parquet", data_files=str(path), split="train"),
        processing_class=tokenizer,
    )
    assert trainer.train().training_loss > 0


def test_a_folder_loads_as_a_dataset_with_its_splits(
    tmp_path: Path, make_trajectory: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [make_trajectory(f"p{n}") for n in range(40)]
    version = Store(tmp_path).open_run("demo", {}, "c0ffee").publish(rows, {})
    spec, folder = SPECS[ExportFormat.TOOLS], tmp_path / "out"
    written = write_folder(folder, version.read, spec.rows, TEXTS, FileColumns(spec.schema), 0.25)
    (folder / "README.md").write_text(card(version, "tools", written, "mit"))
    loaded = datasets.load_dataset(str(folder))
    assert set(loaded) == {"train", "validation"}
    assert sum(len(split) for split in loaded.values()) == 40


def test_verls_dataset_class_gives_the_problems_to_its_workers(
    rows: list[Trajectory], tmp_path: Path
) -> None:
    """Its own length filter renders the prompts; its workers and reward get the rest."""
    dataset = pytest.importorskip("verl.utils.dataset.rl_dataset")
    omegaconf = pytest.importorskip("omegaconf")
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(MODEL_DIR)
    path = exported(rows, ExportFormat.VERL, tmp_path / "rl.parquet")
    config = omegaconf.OmegaConf.create(
        {"cache_dir": str(tmp_path), "max_prompt_length": 256, "filter_overlong_prompts": True}
    )
    read = dataset.RLHFDataset(str(path), tokenizer, config)
    assert len(read) == 4
    batch = dataset.collate_fn([read[n] for n in range(4)])
    problem = rows[0].problem
    assert [*batch["raw_prompt"][0]] == [{"role": "user", "content": problem.question}]
    assert batch["reward_model"][0]["ground_truth"] == problem.answer
    assert batch["data_source"][0] == problem.source
    assert batch["extra_info"][0]["pass_rate"] == 0.5
    assert [*batch["index"]] == [0, 1, 2, 3]


def test_harbor_validates_what_is_written(rows: list[Trajectory]) -> None:
    pytest.importorskip("harbor.models.trajectories")
    from harbor.models.trajectories import Trajectory as Atif

    for row in SPECS[ExportFormat.ATIF].rows(rows, TEXTS):
        read = Atif.model_validate(json.loads(json.dumps(row)))
        assert read.trajectory_id == row["trajectory_id"]
    assert "harbor" in sys.modules
