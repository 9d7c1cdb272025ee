"""A folder with prompts of a user's own."""

from pathlib import Path

TEXTS = {
    "cot": "{question} Answer in \\boxed.",
    "tir": "{question} Use Python and \\boxed.",
    "critic": "In Python: {step}",
}


def write_prompts(folder: Path, **changes: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**TEXTS, **changes}.items():
        (folder / f"{name}.txt").write_text(text + "\n")
    return folder
