"""Where a store lives: a local folder, or a prefix in an S3 or Google Cloud Storage bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import icechunk

from mbc_store import icechunk_files
from mbc_store.errors import StoreError
from mbc_store.icechunk_files import REPOSITORY
from mbc_store.locking import sync_file_system, writer_lock
from mbc_store.urls import holds_credentials

# Icechunk logs to stdout: that local commits are unsafe between processes (mbc_store.repository makes them
# safe), and errors that it raises as well.
icechunk.set_logs_filter("off")


@dataclass(frozen=True, slots=True)
class Location:
    """``url`` is what the user wrote; ``path`` is set for local folders only."""

    url: str
    path: Path | None
    scheme: str
    bucket: str = ""
    prefix: str = ""

    @classmethod
    def parse(cls, location: str | os.PathLike[str] | Location) -> Location:
        """Accepts a path, ``file://``, ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

        Raises:
            StoreError: an empty path, another scheme, no bucket, or credentials, which are not repeated.
        """
        if isinstance(location, Location):
            return location
        text = os.fspath(location)
        if not text:
            raise StoreError("the path of the store is empty", "use a folder, s3://... or gs://...")
        if holds_credentials(text):
            raise StoreError(
                "the location holds credentials",
                "leave them out of it, and give them in the environment (AWS_*, GOOGLE_*)",
            )
        if "://" not in text:
            try:
                return cls(text, Path(text).expanduser().absolute(), "file")
            except RuntimeError:
                raise StoreError(f"{text!r} names the home of a user who is not known") from None
        parts = urlsplit(text)
        if parts.scheme == "file":
            return cls(text, Path(parts.path).absolute(), "file")
        if parts.scheme not in ("s3", "gs"):
            raise StoreError(
                f"{text!r}: unknown kind of location {parts.scheme!r}", "use a folder, s3://... or gs://..."
            )
        if not parts.netloc or ":" in parts.netloc or not parts.path.strip("/"):
            raise StoreError(
                f"{parts.scheme}://... names no bucket or no prefix", f"write {parts.scheme}://BUCKET/PREFIX"
            )
        return cls(text, None, parts.scheme, parts.netloc, parts.path.strip("/"))

    def __str__(self) -> str:
        return self.url

    @property
    def repository_path(self) -> Path:
        """Folder of the Icechunk repository of a local store."""
        assert self.path is not None
        return self.path / REPOSITORY

    def storage(self, repository: str = REPOSITORY) -> icechunk.Storage:
        """Icechunk's storage; credentials and endpoint come from the environment (AWS_*, GOOGLE_*)."""
        if self.path is not None:
            return icechunk.local_filesystem_storage(str(self.path / repository))
        prefix = f"{self.prefix}/{repository}"
        if self.scheme == "gs":
            return icechunk.gcs_storage(bucket=self.bucket, prefix=prefix, from_env=True)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return icechunk.s3_storage(
            bucket=self.bucket,
            prefix=prefix,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            endpoint_url=endpoint,
            allow_http=bool(endpoint and endpoint.startswith("http://")),
            force_path_style=bool(endpoint),
            from_env=True,
        )

    def refuse_foreign_entries(self) -> None:
        """Raises StoreUnsafe if a local store holds a link, a pipe or a device."""
        if self.path is not None:
            icechunk_files.refuse_foreign_entries(self.path)

    def refuse_inside_store(self) -> None:
        """Raises StoreError for a folder inside a store, which collection might take for the store's own."""
        parents = [] if self.path is None else self.path.resolve().parents
        if around := next((folder for folder in parents if (folder / REPOSITORY / "refs").is_dir()), None):
            raise StoreError(f"{self} lies in the store {around}", "choose a place outside of it")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out. Object storage has no lock: there the move of the head decides."""
        if self.path is None:
            yield
        else:
            with writer_lock(self.path):
                yield

    def sync(self) -> None:
        """Make everything written so far survive a power cut; object storage does that by itself."""
        if self.path is not None:
            sync_file_system(self.path)
