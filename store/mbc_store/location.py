"""Where a store lives: a local folder, or a prefix in an S3 or Google Cloud Storage bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import icechunk

from mbc_store import durable
from mbc_store.errors import StoreCorrupt, StoreError
from mbc_store.locking import sync_file_system, writer_lock

REPOSITORY = "icechunk"


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
            StoreError: an empty path, another scheme, or no bucket.
        """
        if isinstance(location, Location):
            return location
        text = os.fspath(location)
        if not text:
            raise StoreError("the path of the store is empty", "use a folder, s3://... or gs://...")
        if "://" not in text:
            return cls(text, Path(text).expanduser().absolute(), "file")
        parts = urlsplit(text)
        if parts.scheme == "file":
            return cls(text, Path(parts.path).absolute(), "file")
        if parts.scheme not in ("s3", "gs"):
            raise StoreError(
                f"{text!r}: unknown kind of location {parts.scheme!r}", "use a folder, s3://... or gs://..."
            )
        if not parts.netloc or not parts.path.strip("/"):
            raise StoreError(
                f"{text!r} names no bucket or no prefix", f"write {parts.scheme}://BUCKET/PREFIX"
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

    def has_store(self) -> bool:
        """Whether there is a store here. Icechunk's own errors, of a head that cannot be read, come through.

        Raises:
            StoreCorrupt: there are commits but no head. Icechunk takes that for nothing at all.
        """
        if self.path is not None and not self.repository_path.is_dir():
            return False
        if icechunk.Repository.exists(self.storage()):
            return True
        if self.snapshot_files():
            raise StoreCorrupt(
                f"the store {self} has lost its head (branch.main in {REPOSITORY}/refs)",
                "run `mbc memory repair`, which finds the newest commit",
            )
        return False

    def snapshot_files(self) -> list[str]:
        """Ids of the snapshots that a local store holds, newest file first; empty for object storage."""
        folder = None if self.path is None else self.repository_path / "snapshots"
        if folder is None or not folder.is_dir():
            return []
        files = [path for path in folder.iterdir() if path.is_file() and "#" not in path.name]
        return [path.name for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True)]

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other writers out. Object storage has no lock: there the move of the head decides."""
        if self.path is None:
            yield
        else:
            with writer_lock(self.path):
                durable.undo(self.path, self.repository_path / "snapshots", self.sync)
                yield

    def settle(self) -> None:
        """Let a running expiry end, or undo one that was cut short. Does nothing where that needs writing
        and the folder is read-only."""
        if self.path is not None and durable.needs_undo(self.path):
            with suppress(OSError), self.exclusive():
                pass

    def write_reference(self, name: str, snapshot_id: str, sync_all: bool = False) -> None:
        """Point ``branch.NAME`` or ``tag.NAME`` of a local repository (Icechunk 1 format) at a snapshot.

        Args:
            sync_all: make everything written so far survive a power cut first, in one sync with the file.

        Raises:
            OSError: it cannot be written.
        """
        path = self.repository_path / "refs" / name / "ref.json"
        text = json.dumps({"snapshot": snapshot_id})
        if sync_all:
            partial = durable.prepare(path, text)
            self.sync()
            durable.publish(partial, path)
        else:
            durable.write_file(path, text)

    def sync(self) -> None:
        """Make everything written so far survive a power cut; object storage does that by itself."""
        if self.path is not None:
            sync_file_system(self.path)
