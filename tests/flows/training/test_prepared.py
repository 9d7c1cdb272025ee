"""Any data trains any model, under the prompt with which the model is then sampled."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.datasets import Store
from storage.policies import Policies
from storage.records import Ending, Outcome, Program, Step, TokenStream, Trajectory
from storage.versions import DatasetVersion
from tests.prompt_folder import write_prompts
from tests.rows import PROVENANCE, row
from tests.tokenizer_families import FAMILIES, write_tokenizer
from tirgen.engine.engine_config import EngineConfig
from tirgen.engine.renderer import HfRenderer
from tirgen.jobs.evaluate_config import EvaluationConfig
from tirgen.jobs.generate_config import GenerateConfig
from tirgen.jobs.rollout_config import PolicySettings, RolloutConfig
from tirgen.tir.prompts import STANDARD, BadPrompts

torch = pytest.importorskip("torch")

from flows.training.fine_tune import fine_tune  # noqa: E402
from flows.training.jobs import Hooks  # noqa: E402
from flows.training.models import Model, find_model, serving, training_names  # noqa: E402
from flows.training.prepared import NothingToLearn, asked_as, prepare, told  # noqa: E402
from trainer.settings import OptimizerConfig, SftConfig  # noqa: E402

CONFIG = SftConfig(optimizer=OptimizerConfig(learning_rate=3e-3), epochs=4, batch_samples=4)
STEPS = (
    Step(
        thought="Let us add the two numbers.",
        action="print(17 + 25)",
        observation="42",
        outcome=Outcome.OK,
    ),
    Step(thought="The answer is \\boxed{42}."),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {name: write_tokenizer(root / name, family) for name, family in FAMILIES.items()}


def imported(number: int, **fields: Any) -> Trajectory:
    """A row as every import and every chat endpoint leaves it: steps and no tokens."""
    plain = row(f"p{number}", program=Program.IMPORTED, kept=True)
    return replace(plain, steps=STEPS, **fields)


def recorded(number: int, renderer: HfRenderer) -> Trajectory:
    """A row with tokens of a renderer's tokenizer."""
    head, tail = renderer.encode("Some prompt."), renderer.encode("I say so, otherwise.")
    stream = TokenStream(
        token_ids=(*head, *tail),
        loss_mask=(False,) * len(head) + (True,) * len(tail),
        logprobs=(None,) * len(head) + (-1.0,) * len(tail),
        prompt_length=len(head),
    )
    provenance = replace(PROVENANCE, tokenizer=renderer.fingerprint)
    return replace(imported(number), tokens=stream, provenance=provenance)


def publish(store: Store, rows: Sequence[Trajectory], config: Any = None) -> DatasetVersion:
    return store.open_run("data", config or {}, "h").publish(rows, {"config": config or {}})


def samples(path: Path) -> dict[str, dict[str, Any]]:
    return {line["trajectory_id"]: line for line in pq.read_table(path).to_pylist()}


def test_recorded_tokens_are_taken_by_fingerprint_and_all_else_is_written(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    own, other = HfRenderer.load(folders["qwen2"]), HfRenderer.load(folders["llama3"])
    rows = [recorded(1, own), recorded(2, other), imported(3)]
    version = publish(Store(tmp_path / "store"), rows)
    asked = asked_as(version, folders["qwen2"], CONFIG)
    counts = prepare(version, folders["qwen2"], asked, tmp_path / "samples.parquet")
    assert counts == {"recorded": 1, "rendered": 2}
    assert told(counts) == (
        "1 with their recorded tokens; 2 written with the policy's own tokenizer and template"
    )
    found = samples(tmp_path / "samples.parquet")
    tails = [
        own.decode(tuple(s["token_ids"][s["prompt_length"] :]))
        for s in (found[each.trajectory_id] for each in rows)
    ]
    assert tails[0] == "I say so, otherwise."
    assert tails[1] == tails[2]
    assert tails[1].startswith(
        "Let us add the two numbers.\n```python\nprint(17 + 25)\n```\n```output\n42\n```\n"
    )


def test_the_same_tokenizer_under_another_template_is_another_one(
    folders: dict[str, Path],
) -> None:
    qwen = json.loads((folders["qwen2"] / "tokenizer.json").read_text())
    copy = folders["qwen2"].parent / "copy"
    write_tokenizer(copy, FAMILIES["qwen2"])
    (copy / "tokenizer.json").write_text(json.dumps(qwen, indent=4))
    assert HfRenderer.load(copy).fingerprint == HfRenderer.load(folders["qwen2"]).fingerprint
    (copy / "chat_template.jinja").write_text(FAMILIES["qwen3"].template)
    assert HfRenderer.load(copy).fingerprint != HfRenderer.load(folders["qwen2"]).fingerprint


def test_baselines_and_rejected_rows_are_not_learned(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        imported(1),
        replace(imported(2), filters=row(kept=False).filters),
        replace(imported(3), program=Program.COT, filters=()),
    ]
    version = publish(Store(tmp_path / "store"), rows)
    asked = asked_as(version, folders["gemma"], CONFIG)
    assert prepare(version, folders["gemma"], asked, tmp_path / "s.parquet") == {"rendered": 1}


def test_a_dataset_that_the_policy_cannot_say_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    version = publish(Store(tmp_path / "store"), [replace(imported(1), steps=(Step(thought="∑"),))])
    asked = asked_as(version, folders["unigram"], CONFIG)
    with pytest.raises(NothingToLearn, match="1 left out, its tokenizer cannot spell"):
        prepare(version, folders["unigram"], asked, tmp_path / "s.parquet")


def published_policy(store: Store, folder: Path, asked: dict[str, Any]) -> str:
    def write(prepared: Path) -> None:
        for file in folder.iterdir():
            (prepared / file.name).write_bytes(file.read_bytes())
        (prepared / "config.json").write_text("{}")

    described = {"config_hash": "h", "kind": "sft", "asked": asked}
    return str(Policies(store.root).publish("pi", write, described))


@pytest.mark.parametrize("family", FAMILIES)
async def test_training_rollouts_and_evaluation_ask_alike(
    folders: dict[str, Path], tmp_path: Path, family: str
) -> None:
    """The actor's template variables (`enable_thinking`) once reached the rollouts' prompt only."""
    variables = FAMILIES[family].variables
    actor = EngineConfig(
        kind="tokens", base_urls=["http://x/v1"], model="m", template_variables=variables
    )
    made = GenerateConfig(actor=actor).model_dump(mode="json")
    store = Store(tmp_path / "store")
    version = publish(store, [imported(1)], made)
    asked = asked_as(version, folders[family], CONFIG)
    prepare(version, folders[family], asked, tmp_path / "s.parquet")
    [sample] = samples(tmp_path / "s.parquet").values()
    trained = sample["token_ids"][: sample["prompt_length"]]
    model = find_model(store, published_policy(store, folders[family], asked.document()))
    for settings in (RolloutConfig(), EvaluationConfig()):
        served: PolicySettings = await serving(settings, model)
        renderer = HfRenderer.load(model.folder, served.policy.template_variables)
        sampled = renderer.prompt_ids(served.prompt_set.for_tir("p1?"))
        assert list(sampled) == trained
    wanted = HfRenderer.load(folders[family], variables).prompt_ids(STANDARD.for_tir("p1?"))
    assert list(wanted) == trained


async def test_a_folder_of_prompts_is_carried_from_the_data_to_every_sampling(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    own = write_prompts(tmp_path / "own", tir_system="Use Python.")
    made = GenerateConfig.model_validate({"prompts": str(own)}).model_dump(mode="json")
    store = Store(tmp_path / "store")
    version = publish(store, [imported(1)], made)
    shutil.rmtree(own)
    asked = asked_as(version, folders["qwen3"], CONFIG)
    model = find_model(store, published_policy(store, folders["qwen3"], asked.document()))
    served = await serving(RolloutConfig(), model)
    assert served.prompt_set == asked.prompts
    assert [message.content for message in served.prompt_set.for_tir("p1?")] == [
        "Use Python.",
        "p1? Use Python and \\boxed.",
    ]
    snapshot = Model(folders["qwen3"], None)
    drawn = await serving(RolloutConfig(), snapshot, asked.document())
    assert drawn.prompt_set == asked.prompts


def test_a_training_may_name_its_own_prompts(folders: dict[str, Path], tmp_path: Path) -> None:
    version = publish(Store(tmp_path / "store"), [imported(1)], {})
    first = CONFIG.model_copy(update={"prompts": str(write_prompts(tmp_path / "one"))})
    moved = CONFIG.model_copy(update={"prompts": str(write_prompts(tmp_path / "two"))})
    assert asked_as(version, folders["qwen3"], first).prompts.digest == (
        asked_as(version, folders["qwen3"], moved).prompts.digest
    )
    with pytest.raises(BadPrompts, match="no folder"):
        asked_as(version, folders["qwen3"], CONFIG.model_copy(update={"prompts": "nowhere"}))


def write_model(folder: Path, vocabulary: int) -> None:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=1024,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


async def test_a_policy_is_fine_tuned_on_rows_without_tokens(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    write_model(folders["qwen3"], 450)
    store = Store(tmp_path / "store")
    rows = [imported(number, ending=Ending.FINISHED) for number in range(8)]
    version = publish(store, rows)
    names = training_names(store, "pi", find_model(store, str(folders["qwen3"])), str(version))
    said: list[str] = []
    made = await fine_tune(names, CONFIG, hooks=Hooks(note=said.append))
    rows_went, held = said
    assert rows_went == "rows of data@v1: 8 written with the policy's own tokenizer and template"
    assert "trained alone, activations kept" in held
    metrics = made.policy.manifest["metrics"]
    assert metrics["rows"] == {"rendered": 8}
    assert metrics["last_step"]["loss"] < 5.5
    assert made.policy.manifest["asked"] == {"prompts": "standard", "template_variables": {}}
    again = await fine_tune(names, CONFIG)
    assert again.policy == made.policy
