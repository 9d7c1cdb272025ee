"""A bucket: the few requests that a store makes of an object store, and what may go wrong.

Credentials come from the environment and instance metadata only, as obstore reads them (``AWS_*``,
``GOOGLE_*``, ``AZURE_*``), and stand in no message and no file. A request that failed for a reason
that may pass is repeated until `PATIENCE_SECONDS` are over. A conditional write whose answer was
lost may have been done: what lies there then is compared with what was to be written.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import obstore
from obstore import exceptions
from obstore.store import from_url

from storage.errors import (
    AccessRefused,
    ClockWrong,
    NoBucket,
    ObjectStoreError,
    StoreError,
    Unreachable,
)
from storage.objects.address import endpoint

PATIENCE = "TIRGEN_BUCKET_PATIENCE"
"""Environment variable with the seconds for which a request without an answer is repeated."""
PATIENCE_SECONDS = 120.0
AT_ONCE = 16
"""Requests at the same time where many small objects are read."""
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_LONGEST_PAUSE = 5.0

T = TypeVar("T")


class Version(NamedTuple):
    """Identifies one state of an object; every write gives it another one."""

    tag: str
    generation: str | None
    """Of Google Cloud Storage, where it stands for the tag."""


class Object(NamedTuple):
    """An object as it is listed."""

    key: str
    size: int
    written: datetime
    """By the clock of the server."""
    version: Version


class Bucket:
    """The objects below an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        patience = os.environ.get(PATIENCE, "")
        try:
            self._patience = float(patience) if patience else PATIENCE_SECONDS
        except ValueError:
            raise StoreError(f"{PATIENCE} is {patience!r}", "set it to seconds, e.g. 60") from None
        plain = endpoint().startswith("http://") or "AZURE_STORAGE_USE_EMULATOR" in os.environ
        self._store: Any = from_url(
            address,
            client_options={"allow_http": plain, "connect_timeout": "5s", "timeout": "120s"},
            # Repeated here, where it is known whether a conditional write may be.
            retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=30)},
        )

    def read(self, key: str) -> tuple[bytes, Version] | None:
        """The content of an object; None if there is none."""

        def get() -> tuple[bytes, Version]:
            found = obstore.get(self._store, key)
            return bytes(found.bytes()), _version(found.meta)

        return self._ask(get)

    def read_all(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes, Version]]:
        """Those of the objects that are still there, in the order of their keys."""
        wanted = list(keys)
        if not wanted:
            return
        with ThreadPoolExecutor(min(AT_ONCE, len(wanted)), "bucket") as pool:
            for key, found in zip(wanted, pool.map(self.read, wanted), strict=True):
                if found:
                    yield key, *found

    def download(self, key: str, path: Path) -> bool:
        """Write an object to a file; false if there is none."""

        def get() -> bool:
            with path.open("wb") as file:
                for chunk in obstore.get(self._store, key).stream(4 << 20):
                    file.write(chunk)
            return True

        return bool(self._ask(get))

    def list(self, prefix: str, after: str | None = None) -> list[Object]:
        """The objects below a prefix that ends in ``/``, by key; with `after` those behind it."""

        def collect() -> list[Object]:
            found = obstore.list(self._store, prefix, offset=after).collect()
            listed = (
                Object(one["path"], one["size"], one["last_modified"], _version(one))
                for one in found
            )
            return sorted(listed)

        return self._ask(collect) or []

    def written(self, key: str) -> datetime:
        """When an object was written, by the clock of the server. Raises FileNotFoundError."""
        return self._repeated(lambda: obstore.head(self._store, key)["last_modified"])

    def put(self, key: str, content: bytes | Path) -> Version:
        """Write an object, whatever lies there."""
        return self._put(key, content, "overwrite", multipart=None)

    def put_new(self, key: str, content: bytes | Path) -> Version | None:
        """Write an object unless one of this key exists; None if another one does."""
        try:
            return self._put(key, content, "create")
        except exceptions.AlreadyExistsError:
            return self._if_it_is(key, content)

    def replace(self, key: str, content: bytes, version: Version) -> Version | None:
        """Write an object in the place of one of its versions; None if that is gone."""
        given = {"e_tag": version.tag, "version": version.generation}
        mode = {name: value for name, value in given.items() if value is not None}
        try:
            return self._put(key, content, mode)
        except (exceptions.PreconditionError, FileNotFoundError):
            return self._if_it_is(key, content)

    def delete(self, key: str) -> None:
        """Remove an object; it does not matter if there is none."""
        self._ask(lambda: obstore.delete(self._store, key))

    def delete_all(self, keys: Iterable[str]) -> None:
        """The same for many at once; not at the end of the process, where no thread starts."""
        with ThreadPoolExecutor(AT_ONCE, "bucket") as pool:
            list(pool.map(self.delete, keys))

    def _put(
        self, key: str, content: bytes | Path, mode: Any, multipart: bool | None = False
    ) -> Version:
        def put() -> Version:
            done = obstore.put(self._store, key, content, mode=mode, use_multipart=multipart)
            return _version(done)

        return self._repeated(put)

    def _if_it_is(self, key: str, content: bytes | Path) -> Version | None:
        """The version of an object with this content: an earlier try has written it."""
        found = self.read(key)
        wanted = content.read_bytes() if isinstance(content, Path) else content
        return found[1] if found and found[0] == wanted else None

    def _ask(self, request: Callable[[], T]) -> T | None:
        """The answer to a request; None if there is no such object."""
        try:
            return self._repeated(request)
        except FileNotFoundError:
            return None

    def _repeated(self, request: Callable[[], T]) -> T:
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                return request()
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                raise
            except (exceptions.BaseError, FileNotFoundError, PermissionError) as error:
                problem = _problem(error, self.address)
                if problem is None:
                    raise
                left = self._patience - (time.monotonic() - began)
                if not isinstance(problem, Unreachable) or left <= 0:
                    raise problem from None  # whose text may hold a signed address
            time.sleep(min(pause, max(left, 0.0)))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _version(found: Any) -> Version:
    return Version(str(found.get("e_tag") or ""), found.get("version"))


def _problem(error: Exception, address: str) -> ObjectStoreError | None:
    """What went wrong with a bucket; None if only an object is not there."""
    text = str(error).partition("Debug source")[0]
    code = found[1] if (found := _CODE.search(text)) else ""
    status = found[1] if (found := _STATUS.search(text)) else ""
    bucket = address.split("/")[2]
    if code in ("NoSuchBucket", "ContainerNotFound") or "bucket does not exist" in text:
        return NoBucket(f"there is no bucket {bucket!r}", f"create it, or correct {address}")
    if isinstance(error, FileNotFoundError):
        return None
    if code == "RequestTimeTooSkewed":
        what = f"{address} refuses requests because the clock of this machine is wrong"
        return ClockWrong(what, "set the clock: timedatectl set-ntp true")
    refused = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError)
    if "169.254.169.254" in text or "metadata" in text.lower():
        return AccessRefused(f"no credentials for {address} were found", _credentials(address))
    if isinstance(error, refused) or status in ("401", "403"):
        what = f"access to {address} was refused ({code or status or 'no reason given'})"
        return AccessRefused(what, f"check what these credentials may do; {_credentials(address)}")
    if status.startswith("4") and status not in ("408", "409", "429"):
        return ObjectStoreError(
            f"{address} refused a request ({code or status})",
            "check the address and, for a server that is not Amazon's, AWS_ENDPOINT_URL; it must "
            "know conditional writes (If-None-Match and If-Match)",
        )
    why = code or (f"status {status}" if status else "no connection or no answer")
    at = f" at {endpoint()}" if address.startswith("s3:") and endpoint() else ""
    return Unreachable(
        f"{address}{at} cannot be reached ({why})",
        "nothing committed is lost: when the network works again, the same command continues",
    )


def _credentials(address: str) -> str:
    variables = {
        "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, AWS_ENDPOINT_URL)",
        "gs": "GOOGLE_APPLICATION_CREDENTIALS",
        "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }
    return f"set {variables[address.partition(':')[0]]} in the environment"
