"""``tirgen dataset push`` and ``pull``: versions on the Hugging Face Hub, in its layout.

    README.md               the card
    data/train-00000.parquet …   rows of an export format, which `datasets.load_dataset` reads
    tirgen/                 the version itself, file by file, from which `pull` restores it

The token is the Hub client's own: of ``HF_TOKEN``, or of ``hf auth login``. It is never an option,
and nothing here writes it anywhere.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.commands.export import chosen, texts_of
from flows.commands.options import DEFAULT_STORE, Flag, Json, StorePath, open_store, read_store
from flows.terminal.console import print_json, say
from flows.terminal.failures import FlowError
from storage import files
from storage.datasets import Store
from storage.documents import fingerprint
from storage.errors import Damaged, NotFound
from storage.exports.folder import card, write_folder
from storage.exports.formats import SPECS, ExportFormat
from storage.exports.write import FileColumns
from storage.names import safe
from storage.numbered import MANIFEST
from storage.records import Trajectory
from storage.versions import DatasetVersion, publish
from storage.views import refresh

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RECORDS = "tirgen"
"""Folder of a repository with the version's own files."""
PULLED = "pulled_from"
"""Key of a manifest: the repository and commit that a version came from."""
_OWN = (
    "version", "parent", "name", "rows", "kept_rows", "baseline_rows", "files", "created_at",
    "code_versions", "schema_version", "verdict_schema_version", "commits", "made_from",
)  # fmt: skip
"""Keys of a manifest that are not taken over: the store writes them itself, or they name things of
another store."""


class HubFailed(FlowError):
    """The Hub refused, or cannot be reached."""

    kind = "hub"


def push_command(
    name: str,
    repository: str,
    /,
    *,
    format: Annotated[ExportFormat, Parameter(name="--format")] = ExportFormat.TOOLS,
    validation: float = 0.0,
    license: str | None = None,
    public: Flag = False,
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Push a dataset version to the Hugging Face Hub, as a dataset that anyone's tools read.

    The repository gets a card, Parquet files in a format of `tirgen dataset export`, and the
    version itself, which `tirgen dataset pull` restores. Pushing another version replaces the files
    in one commit. The token is that of HF_TOKEN or of `hf auth login`.

    Example: tirgen dataset push demo me/demo --license mit --validation 0.05

    Parameters
    ----------
    name
        The dataset, or one version of it as NAME@vN.
    repository
        OWNER/NAME on the Hub; created if it is not there.
    format
        Shape of a row; docs/exports.md says what each keeps.
    validation
        Share of problems, 0 to 1, in the validation split.
    license
        Licence to name on the card.
    public
        Make a new repository readable by everyone; by default it is private.
    """
    version = read_store(store).version(name)
    with tempfile.TemporaryDirectory(prefix="tirgen-push-") as temporary:
        folder = Path(temporary)
        _write(folder, version, format, validation, license)
        say(f"pushing {version} to {repository}")
        with _hub() as api:
            api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=folder,
                commit_message=str(version),
                delete_patterns=["data/*", f"{RECORDS}/*"],
            )
    if json:
        print_json({"version": str(version), "repository": repository, "commit": commit.oid})
    say(f"pushed {version} to {repository} as {commit.oid[:12]}")


def pull_command(
    repository: str,
    /,
    *,
    dataset: str | None = None,
    revision: str = "main",
    store: StorePath = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Pull a dataset version that was pushed to the Hub, and publish it as the next version here.

    Every file is checked against the digests of its manifest. A commit that was pulled before is
    found again.

    Example: tirgen dataset pull me/demo

    Parameters
    ----------
    repository
        OWNER/NAME on the Hub.
    dataset
        Name of the dataset here; by default the one it was pushed from.
    revision
        Branch, tag or commit.
    """
    opened = open_store(store)
    with tempfile.TemporaryDirectory(prefix="tirgen-pull-") as temporary:
        with _hub() as api:
            commit = api.dataset_info(repository, revision=revision).sha
            say(f"pulling {commit} of {repository}")
            api.snapshot_download(
                repository,
                repo_type="dataset",
                revision=commit,
                local_dir=temporary,
                allow_patterns=f"{RECORDS}/*",
            )
        origin = f"{repository}@{commit}"
        source = _downloaded(Path(temporary), repository)
        name = safe(dataset or str(source.manifest["name"]), "dataset name")
        found = [v for v in opened.versions(name) if v.manifest.get(PULLED) == origin]
        version = found[-1] if found else _publish(opened, source, name, origin)
    if json:
        print_json({"version": str(version), "rows": version.manifest["rows"], "from": origin})
    say(f"{'found' if found else 'published'} {version} from {origin}")


def _write(
    folder: Path,
    version: DatasetVersion,
    format: ExportFormat,
    validation: float,
    license: str | None,
) -> None:
    """The repository's files."""
    spec = SPECS[format]
    read = chosen(version, None, kept_only=spec.kept_only)
    shape = FileColumns(spec.schema)
    written = write_folder(folder, read, spec.rows, texts_of(version), shape, validation)
    (folder / "README.md").write_text(card(version, format, written, license))
    records = folder / RECORDS
    records.mkdir()
    for path in (version.path / MANIFEST, *version.files):
        shutil.copyfile(files.fetch(path), records / path.name)


def _downloaded(folder: Path, repository: str) -> DatasetVersion:
    """The version in a download, intact. Raises NotFound and Damaged."""
    records = folder / RECORDS
    if not (records / MANIFEST).is_file():
        raise NotFound(
            f"{repository} holds no version of tirgen",
            "download it, and read it as problems or responses: docs/problems.md, docs/curation.md",
        )
    source = DatasetVersion(records)
    source.check_present()
    if damaged := source.damaged_files():
        raise Damaged(damaged[0], "is not what was pushed: its digest differs")
    return source


def _publish(store: Store, source: DatasetVersion, name: str, origin: str) -> DatasetVersion:
    def rows() -> Iterator[Trajectory]:
        return (replace(row, dataset=name) for row in source.read())

    def describe() -> dict[str, Any]:
        kept = {key: value for key, value in source.manifest.items() if key not in _OWN}
        # Not the hash of a run: one of this store with the same configuration has other rows.
        return {**kept, PULLED: origin, "config_hash": fingerprint({PULLED: origin})}

    version = publish(store.dataset_folder(name), rows(), describe)
    refresh(store.root)
    return version


@contextmanager
def _hub() -> Iterator[HfApi]:
    """A client of the Hub; raises `HubFailed` for what it raises."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # its own client

    try:
        yield HfApi(library_name="tirgen", library_version=version_of("tirgen"))
    except (httpx.HTTPError, LocalTokenNotFoundError, ValueError) as error:  # of names and cards
        said = str(error).strip().splitlines()
        raise HubFailed(
            f"the Hub: {said[0] if said else type(error).__name__}",
            "check the name and your access: hf auth whoami; log in with hf auth login, or set "
            "HF_TOKEN",
        ) from error
