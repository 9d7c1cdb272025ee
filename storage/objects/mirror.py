"""The mirror of a store in a bucket: a folder on this machine, laid out like a store on a disk.

Whatever is small (manifests, configurations, tags, leases, the logs) is brought up to date when it
is looked at; files of rows and weights are fetched when they are read. All code reads the mirror
as if it were the store, and every change goes to the bucket before it is seen here. The mirror may
be removed whenever no process uses it, but for the replies of `storage.journal` not yet uploaded.

    meta/datasets/NAME/runs/HASH/config.json       small files, by their path in the store
    meta/datasets/NAME/versions/v1.folder          a folder: its small files, and of the others
                                                   SHA-256 and size
    files/datasets/NAME/<sha256>                   their content, shared by all versions
    batches/datasets/NAME/runs/HASH/FILE.parquet   committed batches
    log/datasets/NAME/runs/HASH/000000000001.json  `storage.objects.numbered_log`
    notes/datasets/NAME/runs/HASH/leases/...       what changes all the time, listed by its folder
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from storage import documents
from storage.disk import Disk, make_folder, temporary_for
from storage.errors import Damaged, ObjectStoreError
from storage.objects.address import endpoint
from storage.objects.bucket import Bucket, Version
from storage.objects.cache import Cache
from storage.objects.numbered_log import NumberedLog
from storage.objects.uploads import Uploads
from storage.places import ADDRESS, Aged

UPDATE_SECONDS = 0.5
"""What was brought up to date so short a time ago is not asked for again."""
FOLDER = ".folder"
"""Ending of the key of a folder."""
OBJECTS = ".objects.json"
"""File in a mirrored folder with the SHA-256 and size of the files that are fetched when read."""
SMALL_BYTES = 1 << 16
"""JSON files of a folder up to this size lie in its description."""
_NOTES = ("calls", "leases", "journal", "idle", "compactor", "holds")
"""Folders of a run, a training or a dataset whose files change all the time."""
_LOCAL = ("log.checkpoint", "compaction.lock", "latest")
"""Names that only the mirror has: they follow from the rest."""
_LOCAL_FOLDERS = {"batches", "snapshots"}
_LOG, _BATCHES, _CONFIG, _MANIFEST = "log.jsonl", "batches", "config.json", "manifest.json"
_STATE = ".mirror"
"""Folder of the mirror with locks and with what it has seen of the bucket."""


class _Scope(NamedTuple):
    """Small files that are brought up to date together: the keys below a prefix."""

    prefix: str
    name: str
    """Of its lock and of its index."""

    @classmethod
    def below(cls, prefix: str) -> _Scope:
        return cls(prefix, hashlib.sha256(prefix.encode()).hexdigest()[:24])


_META = _Scope("meta/", "meta")


class Mirror:
    """One store in a bucket; see `storage.places.Place` for the operations."""

    def __init__(self, root: Path) -> None:
        """Raises ObjectStoreError if the folder mirrors no store, or that of another server."""
        try:
            about = documents.parse((root / ADDRESS).read_bytes())
        except (OSError, ValueError) as error:
            hint = "remove it, and give the address of the bucket, e.g. s3://bucket/prefix"
            raise ObjectStoreError(f"{root} is the mirror of no store", hint) from error
        if about["endpoint"] != endpoint():
            what = f"{root} mirrors {about['address']} of {about['endpoint'] or 'Amazon S3'}"
            raise ObjectStoreError(what, "set AWS_ENDPOINT_URL to that server")
        self.root = root
        self.address = str(about["address"])
        self._bucket = Bucket(self.address)
        self._disk = Disk()
        self._cache = Cache()
        self._updated: dict[str, float] = {}
        self._mine: dict[str, Version] = {}
        """Of files that this process wrote, what it wrote last."""
        self._shared: dict[Path, tuple[str, int]] = {}
        self._uploads = Uploads(self._upload)
        self._state = root / _STATE
        make_folder(self._state)

    def shown(self, path: Path) -> str:
        below = path.relative_to(self.root).as_posix()
        return self.address if below == "." else f"{self.address}/{below}"

    # Reading

    def update(self, path: Path, ago: float) -> None:
        parts = self._parts(path)
        if parts is None:
            return
        if path.name == _LOG:
            if path.exists():
                with self._log(path) as log:
                    log.catch_up()
        else:
            scope = self._scope(parts)
            self._pull(scope, max(ago, UPDATE_SECONDS) if scope == _META else ago)

    def present(self, path: Path) -> int | None:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            if self._data_key(path) is None:
                raise
            return None

    def fetch(self, path: Path) -> None:
        if path.exists():
            self._cache.used(path)
            return
        key = self._data_key(path)
        if key is None:
            raise FileNotFoundError(path)
        with temporary_for(path) as temporary:
            if not self._bucket.download(key, temporary):
                raise FileNotFoundError(path)
            self._verify(path, temporary)
            os.replace(temporary, path)
        self._cache.added(path)

    def fetch_folder(self, folder: Path) -> None:
        if described := _objects(folder / OBJECTS):
            for name in described[1]:
                self.fetch(folder / name)

    def fetch_again(self, path: Path) -> None:
        if self._data_key(path) is not None:
            path.unlink(missing_ok=True)
            self.fetch(path)

    def _verify(self, path: Path, temporary: Path) -> None:
        described = _objects(path)
        if described is None:
            return  # a batch: the log has checksums of its blocks, which every reader verifies
        folder, files = described
        digest, size = files[path.relative_to(folder).as_posix()]
        found = temporary.stat().st_size
        if found != size:
            raise Damaged(path, f"has {found:,} bytes instead of {size:,} in the bucket")
        with temporary.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != digest:
                raise Damaged(path, "is not what was written to the bucket: its digest differs")

    # Changing single files

    def write_atomic(self, path: Path, content: bytes) -> None:
        if (parts := self._small(path)) is None:
            self._disk.write_atomic(path, content)
            return
        scope, key = self._scope(parts), self._key(parts)
        with self._locked(scope):
            self._mine[key] = version = self._bucket.put(key, content)
            self._keep(scope, path, key, content, version)

    def rewrite(self, path: Path, content: bytes) -> bool:
        parts = self._small(path)
        if parts is None or (version := self._mine.get(self._key(parts))) is None:
            raise ValueError(f"{path} was not written by this process")
        scope, key = self._scope(parts), self._key(parts)
        with self._locked(scope):
            written = self._bucket.replace(key, content, version)
            if written:
                self._mine[key] = written
                self._keep(scope, path, key, content, written)
            elif found := self._bucket.read(key):  # of an earlier try that seemed to have failed
                self._mine[key] = found[1]
        return written is not None

    def note(self, path: Path, content: bytes) -> None:
        _write_here(path, content)
        self.changed(path)

    def changed(self, path: Path) -> None:
        if self._small(path) is not None:
            self._uploads.add(path)

    def replace(self, temporary: Path, path: Path) -> None:
        if self._small(path) is None:
            self._disk.replace(temporary, path)
        else:
            self.write_atomic(path, temporary.read_bytes())

    def place_new(self, temporary: Path, path: Path) -> bool:
        if (key := self._batch_key(path)) is not None:
            placed = self._bucket.put_new(key, temporary) is not None
            if placed:
                os.replace(temporary, path)
                self._cache.added(path)
            else:
                temporary.unlink()
                self.fetch_again(path)
            return placed
        if (parts := self._small(path)) is None:
            return self._disk.place_new(temporary, path)
        scope, key, content = self._scope(parts), self._key(parts), temporary.read_bytes()
        with self._locked(scope):
            if version := self._bucket.put_new(key, content):
                self._mine[key] = version
                self._keep(scope, path, key, content, version)
        temporary.unlink()
        return version is not None

    def point_to(self, link: Path, target: str) -> None:
        if self._small(link) is not None:
            raise ValueError(f"{link} is no link that only this machine has")
        self._disk.point_to(link, target)

    def append_line(self, path: Path, line: str, *, synced: bool) -> None:
        if self._parts(path) is not None and path.name == _LOG:
            with self._log(path) as log:
                log.append(line)
            return
        self._disk.append_line(path, line, synced=False)
        self.changed(path)

    def remove(self, path: Path) -> None:
        if (key := self._batch_key(path)) is not None:
            self._bucket.delete(key)
        elif (parts := self._small(path)) is not None:
            self._bucket.delete(self._key(parts))
        path.unlink(missing_ok=True)

    # Folders

    def share(self, source: Path, path: Path) -> None:
        self.fetch(source)
        self._disk.share(source, path)
        if described := _objects(source):
            digest, size = described[1][source.relative_to(described[0]).as_posix()]
            self._shared[path] = (digest, size)

    def place_new_folder(self, temporary: Path, path: Path) -> bool:
        if (parts := self._small(path)) is None:
            return self._disk.place_new_folder(temporary, path)
        small: dict[str, str] = {}
        files: dict[str, tuple[str, int]] = {}
        for file in sorted(one for one in temporary.rglob("*") if one.is_file()):
            name, size = file.relative_to(temporary).as_posix(), file.stat().st_size
            if file.name == _MANIFEST or (file.suffix == ".json" and size <= SMALL_BYTES):
                small[name] = file.read_text("utf-8")
            else:
                if file not in self._shared:  # also of an earlier try under another number
                    self._shared[file] = self._uploaded(file, parts)
                files[name] = self._shared[file]
        content = documents.dump({"files": files, "documents": small})
        key = self._key(parts) + FOLDER
        with self._locked(_META):
            version = self._bucket.put_new(key, content)
            if version is None:
                self._updated.pop(_META.prefix, None)
                return False
            (temporary / OBJECTS).write_bytes(documents.dump({"files": files}))
            if path.exists():
                shutil.rmtree(temporary)
            else:
                os.rename(temporary, path)
            self._remember(_META, key, version)
        for name in files:
            self._shared.pop(temporary / name, None)
            if (path / name).exists():
                self._cache.added(path / name)
        return True

    def _uploaded(self, file: Path, parts: tuple[str, ...]) -> tuple[str, int]:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        # Written again if it is there: an unused object is removed by its age.
        self._bucket.put(_content_key(parts, digest), file)
        return digest, file.stat().st_size

    def remove_folder(self, path: Path) -> None:
        if (parts := self._parts(path)) is not None:
            scope = self._scope(parts)
            below = self._key(parts)
            if scope == _META:
                self._bucket.delete(below + FOLDER)
            self._bucket.delete_all(one.key for one in self._bucket.list(f"{below}/"))
        self._disk.remove_folder(path)

    @contextmanager
    def alone(self, lock: Path) -> Iterator[bool]:
        from storage.leases import Claim, Lease  # which writes through this module

        with self._disk.alone(lock) as granted:
            lease = granted and Claim(lock.parent / "compactor", "compactor").attempt()
            try:
                yield isinstance(lease, Lease)
            finally:
                if isinstance(lease, Lease):
                    lease.release()

    def aged(self, folder: Path) -> Iterator[Aged]:
        key = self._batch_key(folder / "any")
        assert key is not None, "only batches are removed by age"
        now = self._now()
        for one in self._bucket.list(key.removesuffix("any")):
            yield Aged(folder / one.key.rpartition("/")[2], now - one.written.timestamp())

    def _now(self) -> float:
        """The time of the server."""
        self._bucket.put("clock", b"")
        return self._bucket.written("clock").timestamp()

    # Keys

    def _parts(self, path: Path) -> tuple[str, ...] | None:
        """The path in the store; None for what only this machine has."""
        parts = path.relative_to(self.root).parts
        of_the_bucket = parts and parts[0] in ("datasets", "policies")
        if not of_the_bucket or any(part.startswith(".") for part in parts):
            return () if not parts else None
        return parts

    def _small(self, path: Path) -> tuple[str, ...] | None:
        """The same; None also for a batch and for what follows from the rest."""
        parts = self._parts(path)
        local = not parts or parts[-1] in _LOCAL or not _LOCAL_FOLDERS.isdisjoint(parts[:-1])
        return None if local else parts

    def _scope(self, parts: tuple[str, ...]) -> _Scope:
        for place in (2, 4):
            if len(parts) > place and parts[place] in _NOTES:
                return _Scope.below("notes/" + "/".join(parts[: place + 1]) + "/")
        return _META

    def _key(self, parts: tuple[str, ...]) -> str:
        kind = "meta" if self._scope(parts) == _META else "notes"
        return f"{kind}/{'/'.join(parts)}"

    def _batch_key(self, path: Path) -> str | None:
        parts = self._parts(path)
        if parts and len(parts) == 6 and parts[4] == _BATCHES and path.name != "empty.parquet":
            return f"batches/{'/'.join(parts)}"
        return None

    def _data_key(self, path: Path) -> str | None:
        """The key of a file that is fetched when it is read."""
        if key := self._batch_key(path):
            return key
        parts, described = self._parts(path), _objects(path)
        if parts and described:
            found = described[1].get(path.relative_to(described[0]).as_posix())
            return found and _content_key(parts, found[0])
        return None

    # Bringing small files up to date

    def _pull(self, scope: _Scope, ago: float) -> None:
        now = time.monotonic()
        if now - self._updated.get(scope.prefix, -ago - 1.0) < ago:
            return
        with self._locked(scope):
            index = self._index(scope)
            listed = {one.key: _tag(one.version) for one in self._bucket.list(scope.prefix)}
            changed = [key for key, tag in listed.items() if index.get(key) != tag]
            gone = index.keys() - listed.keys()
            for key in gone:
                self._take_away(self._place(key))
                del index[key]
            for key, content, version in self._bucket.read_all(changed):
                self._materialise(key, content)
                index[key] = _tag(version)
            if changed or gone:
                self._write_index(scope, index)
        self._updated[scope.prefix] = now

    def _materialise(self, key: str, content: bytes) -> None:
        path = self._place(key)
        make_folder(path.parent)
        if key.endswith(FOLDER):
            described = self._described(path, content)
            for name in (*described["documents"], *described["files"]):
                self._check(name)
            self._take_away(path)
            with temporary_for(path) as temporary:
                for name, text in described["documents"].items():
                    make_folder((temporary / name).parent)
                    (temporary / name).write_text(text, "utf-8")
                for name in described["files"]:
                    make_folder((temporary / name).parent)
                (temporary / OBJECTS).write_bytes(documents.dump({"files": described["files"]}))
                os.rename(temporary, path)
        else:
            _write_here(path, content)
            if path.name == _CONFIG and path.parent.parent.name == "runs":
                make_folder(path.parent / _BATCHES)
                (path.parent / _LOG).touch()

    def _take_away(self, path: Path) -> None:
        if path.name == _CONFIG and path.parent.parent.name == "runs":
            path = path.parent  # with the log
        if path.is_dir() and not path.is_symlink():
            with temporary_for(path) as temporary:
                os.rename(path, temporary)
        else:
            path.unlink(missing_ok=True)

    def _place(self, key: str) -> Path:
        below = key.partition("/")[2]
        self._check(below)
        return self.root / below.removesuffix(FOLDER)

    def _described(self, path: Path, content: bytes) -> dict[str, Any]:
        """The description of a folder in the bucket. Raises Damaged."""
        try:
            return documents.parse(content)
        except ValueError as error:
            raise Damaged(path, f"has a description in the bucket that {error}") from error

    def _check(self, name: str) -> None:
        """Raises Damaged for a name in the bucket that could lead out of the mirror."""
        if not {"", ".", ".."}.isdisjoint(name.split("/")) or "\0" in name:
            raise Damaged(self.root, f"has an object with an unsafe name: {name!r}")

    def _keep(self, scope: _Scope, path: Path, key: str, content: bytes, version: Version) -> None:
        self._materialise(key, content)
        self._remember(scope, key, version)

    def _remember(self, scope: _Scope, key: str, version: Version) -> None:
        self._write_index(scope, self._index(scope) | {key: _tag(version)})

    def _index(self, scope: _Scope) -> dict[str, str]:
        """By key, the tag of the object that the mirror has. Raises Damaged."""
        try:
            return documents.read(self._index_path(scope))
        except FileNotFoundError:
            return {}

    def _write_index(self, scope: _Scope, index: dict[str, str]) -> None:
        _write_here(self._index_path(scope), documents.dump(index))

    def _index_path(self, scope: _Scope) -> Path:
        return self._state / f"{scope.name}.json"

    @contextmanager
    def _locked(self, scope: _Scope) -> Iterator[None]:
        """One process, and one thread of it, at a time changes these files of the mirror."""
        with (self._state / f"{scope.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _log(self, path: Path) -> Iterator[NumberedLog]:
        prefix = "log/" + "/".join(path.relative_to(self.root).parts[:-1]) + "/"
        with self._locked(_Scope.below(prefix)):
            yield NumberedLog(self._bucket, prefix, path)

    def _upload(self, path: Path) -> None:
        """Bring a note to the bucket as it is now, or remove it there."""
        parts = self._small(path)
        assert parts is not None
        scope, key = self._scope(parts), self._key(parts)
        with self._locked(scope):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                if key in self._index(scope):
                    self._bucket.delete(key)
                return
            self._remember(scope, key, self._bucket.put(key, content))

    def flush(self) -> None:
        """Upload all notes now."""
        self._uploads.flush()

    def collect(self, folder: Path, seconds: float) -> int:
        """Remove the files of a dataset or policy that none of its folders names any more.

        Those that are younger, and those of versions that were removed later, stay, because
        processes may still read them. Returns the bytes that are freed.
        """
        self._pull(_META, 0.0)
        below, now = folder.relative_to(self.root).as_posix(), self._now()
        removed = self._bucket.list(f"meta/{below}/removed/")
        lately = [one for one in removed if now - one.written.timestamp() <= seconds]
        used = {name for one in lately for name in _named(self._place(one.key) / _MANIFEST)}
        used |= {name for file in folder.rglob(OBJECTS) for name in _named(file)}
        prefix = f"files/{below}/"
        unused = [
            one
            for one in self._bucket.list(prefix)
            if one.key.removeprefix(prefix) not in used and now - one.written.timestamp() > seconds
        ]
        self._bucket.delete_all(one.key for one in unused)
        return sum(one.size for one in unused)


def _write_here(path: Path, content: bytes) -> None:
    """Write a file of the mirror as a whole; it need not survive a power cut."""
    with temporary_for(path) as temporary:
        temporary.write_bytes(content)
        os.replace(temporary, path)


def _named(document: Path) -> list[str]:
    """Every SHA-256 that stands in a manifest or description."""
    return re.findall(r"\b[0-9a-f]{64}\b", document.read_text("utf-8"))


def _tag(version: Version) -> str:
    """Written in the same way in a listing and in the answer to a write."""
    return version.tag.strip('"')


def _content_key(parts: tuple[str, ...], digest: str) -> str:
    return f"files/{parts[0]}/{parts[1]}/{digest}"


def _objects(path: Path) -> tuple[Path, dict[str, tuple[str, int]]] | None:
    """The mirrored folder that a file belongs to, and its files; None outside of any."""
    for folder in (path.parent, path.parent.parent):
        try:
            return folder, documents.read(folder / OBJECTS)["files"]
        except FileNotFoundError:
            continue
    return None
