"""Prompt sets: the instructions of actor, critic and policy, as text files in a folder per set.

The critic's prompt carries the isolated step and nothing else (method A11): never the question,
never the answer, so that what it writes stays on the actor's distribution.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from storage.documents import fingerprint
from tirgen.engine.protocol import Message
from tirgen.settings import ConfigError

Part: TypeAlias = Literal["cot", "tir", "critic"]
PLACEHOLDERS: dict[Part, str] = {"cot": "{question}", "tir": "{question}", "critic": "{step}"}
"""What each text must hold; the question or the step takes its place."""
BUDGET_SENTENCE = (
    "Considering the limited time, I have to give the answer based on the thinking so far."
)
"""What ends thinking that has used up its budget; the pocket has learned to answer after it."""


class BadPrompts(ConfigError, ValueError):
    """A prompt set cannot be used; the message names the set or folder, the file and the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """One instruction per role. Raises BadPrompts where a text has not exactly its placeholder."""

    name: str
    cot: str
    """The actor reasoning without tools; `{question}`."""
    tir: str
    """A policy that writes its own code; `{question}`."""
    critic: str
    """The critic rewriting one step; `{step}`."""
    cot_system: str = ""
    """System message before `cot`; none where it is empty, and so for the other two."""
    tir_system: str = ""
    critic_system: str = ""

    def __post_init__(self) -> None:
        for part, wanted in PLACEHOLDERS.items():
            text = getattr(self, part)
            if wanted not in text:
                raise BadPrompts(f"{part} of the prompt set {self.name!r} has no {wanted}")
            for other in {*PLACEHOLDERS.values()} - {wanted}:
                if other in text:
                    found = f"{part} of the prompt set {self.name!r} has {other}"
                    raise BadPrompts(f"{found}, which is filled in elsewhere only")

    def for_cot(self, question: str) -> tuple[Message, ...]:
        return self.messages("cot", question)

    def for_tir(self, question: str) -> tuple[Message, ...]:
        return self.messages("tir", question)

    def for_critic(self, step: str) -> tuple[Message, ...]:
        return self.messages("critic", step)

    def messages(self, part: Part, text: str) -> tuple[Message, ...]:
        """The conversation up to the turn that is to be sampled."""
        said = getattr(self, part).replace(PLACEHOLDERS[part], text)
        system = getattr(self, f"{part}_system")
        opening = (Message("system", system),) if system else ()
        return (*opening, Message("user", said))

    def hash_of(self, part: Part) -> str:
        """Short content hash of one instruction, for provenance."""
        system = getattr(self, f"{part}_system")
        said = getattr(self, part)
        return prompt_hash(f"{system}\0{said}" if system else said)

    @property
    def digest(self) -> str:
        """Equal for sets with equal texts, whatever their names and folders."""
        return fingerprint({name: text for name, text in asdict(self).items() if name != "name"})


def prompt_hash(template: str) -> str:
    """Short hash of an instruction, for provenance."""
    return hashlib.sha256(template.encode()).hexdigest()[:12]


def load_prompts(folder: Path) -> PromptSet:
    """The set in a folder: `cot.txt`, `tir.txt`, `critic.txt`, and `*_system.txt` where wanted.

    The newline at the end of a file is not part of the text. Raises BadPrompts, which names the
    file that is missing, unknown, unreadable or without its placeholder.
    """
    known = {field.name for field in fields(PromptSet)} - {"name"}
    files = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    unknown = [files[name].name for name in files.keys() - known]
    missing = [f"{name}.txt" for name in PLACEHOLDERS if name not in files]
    if unknown or missing:
        found = [f"lacks {', '.join(missing)}"] if missing else []
        found += [f"has {', '.join(sorted(unknown))}, which is no prompt"] if unknown else []
        expected = ", ".join(f"{name}.txt" for name in sorted(known))
        said = " and ".join(found)
        raise BadPrompts(f"the prompt folder {folder} {said}; it may have {expected}")
    try:
        texts = {name: path.read_text("utf-8") for name, path in files.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise BadPrompts(f"the prompts in {folder} cannot be read: {error}") from None
    return PromptSet(
        name=folder.resolve().name,
        **{name: text.removesuffix("\n") for name, text in texts.items()},
    )


_SHIPPED = Path(__file__).parent / "prompt_sets"
PROMPT_SETS = {folder.name: load_prompts(folder) for folder in sorted(_SHIPPED.iterdir())}
"""The sets that ship with tirgen, by name."""
POCKET, STANDARD, THINKING = (PROMPT_SETS[name] for name in ("pocket", "standard", "thinking"))


def usual_prompts(is_pocket: bool, *, thinks: bool = False) -> PromptSet:
    """The set in force where no setting names one."""
    return POCKET if is_pocket else THINKING if thinks else STANDARD


def find_prompts(name: str) -> PromptSet:
    """The shipped set of that name, else the set in the folder. Raises BadPrompts."""
    if name in PROMPT_SETS:
        return PROMPT_SETS[name]
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise BadPrompts(f"{name!r} is none of {sorted(PROMPT_SETS)}, and no folder")
    return load_prompts(folder)


def as_prompts(setting: Any) -> Any:
    """A set from what a setting or a manifest has: a name, a folder, or the texts themselves.

    Raises BadPrompts.
    """
    if isinstance(setting, str):
        return find_prompts(setting)
    if isinstance(setting, dict):
        try:
            return PromptSet(**setting)
        except TypeError as error:
            raise BadPrompts(f"this is no prompt set: {error}") from None
    return setting


def as_setting(prompts: PromptSet) -> str | dict[str, str]:
    """What `as_prompts` reads: the name of a shipped set, the texts of any other."""
    shipped = PROMPT_SETS.get(prompts.name) == prompts
    return prompts.name if shipped else asdict(prompts)


Prompts = Annotated[
    PromptSet,
    BeforeValidator(as_prompts),
    PlainSerializer(as_setting),
    WithJsonSchema({"type": "string"}),
]
"""A setting: the name of a shipped set or a folder. Its texts are read once and are then part of
the configuration, so that a manifest has them wherever the folder is."""
