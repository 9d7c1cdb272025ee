"""Addresses of stores in buckets, and the server that they are asked of."""

from __future__ import annotations

import os
import re

from storage.errors import InvalidName

_ADDRESS = re.compile(r"(s3|gs|az):/+([A-Za-z0-9][A-Za-z0-9._-]+)(?:/+(.*?))?/*")


def address_of(text: str) -> str | None:
    """The address of a store in a bucket, as ``s3://bucket/prefix``; None for a path.

    A path library may have taken away one of its slashes. Raises InvalidName.
    """
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:(/|$)", text)
    if scheme is None:
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in (match[3] or ""):
        raise InvalidName(
            f"the store {text!r} is no address of a bucket",
            "write it like s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; "
            "or give a folder",
        )
    return f"{match[1]}://{match[2]}" + (f"/{match[3]}" if match[3] else "")


def endpoint() -> str:
    """The server of ``s3://``, where it is not Amazon's; without what may be secret in it."""
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return re.sub(r"//[^/]*@", "//", given).rstrip("/")
