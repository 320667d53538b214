"""Reading and writing the arrays of one snapshot, chunk by chunk.

This works on Zarr's chunks directly instead of through Zarr's arrays: a commit touches a dozen arrays, and
Zarr's general indexing costs milliseconds of computing for each, which would be most of a commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import icechunk
import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype

from mbc_store.chunks import (
    ChunkCache,
    Key,
    decode_attributes,
    decode_chunk,
    empty_chunk,
    encode_attributes,
    encode_chunk,
)
from mbc_store.errors import DamagedChunk, StoreCorrupt, translated
from mbc_store.format import (
    ArraySpec,
    Lengths,
    StoreConfig,
    array_specs,
    capacity,
    check_values,
    counts_spec,
    create_array,
    read_attributes,
)
from mbc_store.waiting import all_of, wait

CHUNKS_PER_BLOCK = 64
CHUNKS_AT_ONCE = 256
BYTES_AT_ONCE = 256 * 2**20
SPARE_BYTES = 65536
"""What packing can add to a chunk that cannot be packed."""
_PROTOTYPE = default_buffer_prototype()


@dataclass(frozen=True, slots=True)
class Recent:
    """What one commit knows of the snapshot it made, so that the next need not read it again."""

    attributes: dict[str, Any]
    chunks: ChunkCache


class Columns:
    """The arrays of a session. Writes are visible to reads at once and reach the session with ``flush``."""

    def __init__(self, session: icechunk.Session, location: object, recent: Recent | None = None) -> None:
        """``recent``: of exactly the session's snapshot; it must not be used again."""
        self._store = session.store
        self._location = location
        self._cache = ChunkCache() if recent is None else recent.chunks
        self._changed: dict[Key, np.ndarray] = {}
        self._attributes = self._root_attributes() if recent is None else recent.attributes
        self.config: StoreConfig
        self.config, self.lengths = read_attributes(self._attributes, location)
        self.growing = array_specs(self.config)
        self.specs: dict[str, ArraySpec] = {**self.growing, "code_counts": counts_spec(self.config)}

    def _root_attributes(self) -> dict[str, Any]:
        (data,) = self._fetch(["zarr.json"])
        if data is None:
            raise StoreCorrupt(f"{self._location} holds no store", "run `mbc memory repair`")
        try:
            return decode_attributes(data)
        except DamagedChunk as error:
            raise StoreCorrupt(f"{self._location}: {error}", "run `mbc memory repair`") from error

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The id index's runs (store/mbc_store/id_index.py)."""
        runs: list[dict[str, Any]] = self._attributes.get("index_runs", [])
        return runs

    @property
    def posting_runs(self) -> list[dict[str, Any]] | None:
        """The runs of the posting lists (store/mbc_store/posting_lists.py); None where none are kept."""
        runs: list[dict[str, Any]] | None = self._attributes.get("posting_runs")
        return runs

    def set_posting_runs(self, runs: Sequence[dict[str, Any]] | None) -> None:
        """Replace them in the root attributes."""
        self._attributes.pop("posting_runs", None)
        if runs is not None:
            self._attributes["posting_runs"] = list(runs)

    def set_header(self, lengths: Lengths, runs: Sequence[dict[str, Any]] | None = None) -> None:
        """Replace the lengths, and the index's runs if given, in the root attributes; grow arrays to fit."""
        before, self.lengths = self.lengths, lengths
        for prefix, old, new in (
            ("passages/", before.rows, lengths.rows),
            ("documents/", before.documents, lengths.documents),
        ):
            if capacity(new) > capacity(old):
                self._resize(prefix, capacity(new))
        self._attributes |= lengths.attributes()
        if runs is not None:
            self._attributes["index_runs"] = list(runs)

    def _resize(self, prefix: str, rows: int) -> None:
        paths = [path for path in self.growing if path.startswith(prefix)]
        keys = [f"{path}/zarr.json" for path in paths]
        resized = []
        for path, data in zip(paths, self._fetch(keys), strict=True):
            try:
                metadata = json.loads(data or b"")
                metadata["shape"][0] = rows
            except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
                raise self._damaged(f"the metadata of {path} is damaged: {error}") from error
            resized.append(json.dumps(metadata).encode())
        self._send(zip(keys, resized, strict=True))

    def rows_of(self, path: str) -> int:
        """Rows written to a growing array."""
        return self.lengths.rows if path.startswith("passages/") else self.lengths.documents

    # --- chunks --------------------------------------------------------------------------------------

    def _storage_key(self, key: Key) -> str:
        path, index = key
        return f"{path}/c/{index}" + "/0" * len(self.specs[path].tail)

    def _fetch(self, storage_keys: Iterable[str]) -> list[bytes | None]:
        with translated(self._location):
            buffers = wait(all_of(self._store.get(key, _PROTOTYPE) for key in storage_keys))
        return [None if buffer is None else buffer.to_bytes() for buffer in buffers]

    def load(self, keys: Iterable[Key]) -> list[Key]:
        """Bring chunks into the cache, many at once, as long as it has room; those that were not there.

        A header that claims more rows than there are chunks ends in an error at the first missing one.
        """
        loaded: list[Key] = []
        wanted = (key for key in keys if key not in self._cache and key not in self._changed)
        while missing := self._affordable(dict.fromkeys(islice(wanted, CHUNKS_AT_ONCE))):
            found = self._fetch(map(self._storage_key, missing))
            for key, data in zip(missing, found, strict=True):
                self._cache.put(key, self._decode(key, data))
                loaded.append(key)
                if self._cache.full:
                    return loaded
        return loaded

    def _affordable(self, keys: Iterable[Key]) -> list[Key]:
        """The first of ``keys``, as many as fit into memory by the bytes they claim to have.

        Raises:
            StoreCorrupt: one claims more than any chunk of its array can have.
        """
        keys = list(keys)
        with translated(self._location):
            sizes = wait(all_of(self._size(self._storage_key(key)) for key in keys))
        total = 0
        for position, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            spec = self.specs[key[0]]
            total += spec.chunk_bytes if spec.dtype != "str" else size
            if size > spec.chunk_bytes + SPARE_BYTES:
                raise self._damaged(f"chunk {key[1]} of {key[0]} claims {size:,} bytes")
            if total > BYTES_AT_ONCE and position:
                return keys[:position]
        return keys

    def check_extent(self) -> None:
        """Raise StoreCorrupt where the header claims more than is stored: whoever reads all takes memory by
        its claim."""
        for paths in (("passages/codes", "passages/location"), ("documents/id", "documents/first_row")):
            rows = self.rows_of(paths[0])
            last = [
                self._storage_key((path, (rows - 1) // self.specs[path].rows_per_chunk)) for path in paths
            ]
            with translated(self._location):
                if rows and not any(wait(all_of(self._size(key) for key in last))):
                    raise self._damaged(
                        f"the header claims {rows} {paths[0].partition('/')[0]}, there are fewer"
                    )

    async def _size(self, storage_key: str) -> int:
        try:
            return await self._store.getsize(storage_key)
        except (FileNotFoundError, KeyError):  # no chunk, no array
            return 0

    def _damaged(self, problem: str) -> StoreCorrupt:
        return StoreCorrupt(
            f"{self._location}: {problem}", "run `mbc memory verify`, then `mbc memory repair`"
        )

    def _decode(self, key: Key, data: bytes | None) -> np.ndarray:
        (path, index), spec = key, self.specs[key[0]]
        first = index * spec.rows_per_chunk
        written = self.rows_of(path) if path in self.growing else first
        if data is None:
            if not spec.optional and first < written:
                raise self._damaged(f"chunk {index} of {path} is missing")
            return empty_chunk(spec)
        try:
            chunk = decode_chunk(data, spec)
            check_values(path, chunk[: max(written - first, 0)], self.config, self.lengths)
            return chunk
        except DamagedChunk as error:
            raise self._damaged(f"chunk {index} of {path} is damaged: {error}") from error

    def _chunk(self, key: Key) -> np.ndarray:
        if key in self._changed:
            return self._changed[key]
        if key not in self._cache:
            self._cache.trim()
            self.load([key])
        return self._cache.get(key)

    def _writable(self, key: Key) -> np.ndarray:
        if key not in self._changed:
            self._changed[key] = self._chunk(key).copy()
            self._cache.drop(key)
        return self._changed[key]

    def recent(self) -> Recent:
        """What look-ups and appends of the next commit are sure to touch: the index and the last chunks.

        These columns must not be used again.
        """

        def wanted(key: Key) -> bool:
            path, index = key
            return path not in self.growing or index >= self.rows_of(path) // self.specs[path].rows_per_chunk

        assert not self._changed, "flush first"
        self._cache.keep(wanted)
        return Recent(self._attributes, self._cache)

    # --- reading -------------------------------------------------------------------------------------

    def _keys(self, path: str, start: int, stop: int) -> Iterator[Key]:
        rows = self.specs[path].rows_per_chunk
        if stop > start:
            yield from ((path, index) for index in range(start // rows, -(-stop // rows)))

    def read_many(self, requests: Sequence[tuple[str, slice]], keep: bool = True) -> list[np.ndarray]:
        """Rows ``start:stop`` of each path; texts come as object arrays of str.

        Args:
            keep: False where these rows will not be wanted again soon: their chunks are not cached then.
        """
        loaded = self.load(key for path, part in requests for key in self._keys(path, part.start, part.stop))
        results = [self._assemble(path, part.start, part.stop) for path, part in requests]
        for key in [] if keep else loaded:
            self._cache.drop(key)
        self._cache.trim()
        return results

    def _assemble(self, path: str, start: int, stop: int) -> np.ndarray:
        spec = self.specs[path]
        rows = spec.rows_per_chunk
        result = np.empty((max(stop - start, 0), *spec.tail), dtype=spec.numpy_dtype)
        for key in self._keys(path, start, stop):
            offset = key[1] * rows
            low, high = max(start, offset), min(stop, offset + rows)
            result[low - start : high - start] = self._chunk(key)[low - offset : high - offset]
        return result

    def read(self, path: str, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop`` (exclusive)."""
        return self.read_many([(path, slice(start, stop))])[0]

    def all(self, path: str) -> np.ndarray:
        """Every written row of a growing array."""
        self.check_extent()
        return self.read(path, 0, self.rows_of(path))

    def take_many(self, paths: Sequence[str], rows: np.ndarray) -> list[np.ndarray]:
        """Scattered ``rows`` of each path, in the order asked for; each chunk is decoded once."""
        rows = np.asarray(rows, dtype=np.int64)
        results = []
        if len(rows) <= CHUNKS_PER_BLOCK:
            per_path = {path: np.unique(rows // self.specs[path].rows_per_chunk).tolist() for path in paths}
            self.load((path, index) for path, indices in per_path.items() for index in indices)
        for path in paths:
            per_chunk = self.specs[path].rows_per_chunk
            indices, inverse = np.unique(rows // per_chunk, return_inverse=True)
            found = np.empty((len(rows), *self.specs[path].tail), dtype=self.specs[path].numpy_dtype)
            for block in range(0, len(indices), CHUNKS_PER_BLOCK):
                self.load((path, index) for index in indices[block : block + CHUNKS_PER_BLOCK].tolist())
                for position, index in enumerate(
                    indices[block : block + CHUNKS_PER_BLOCK].tolist(), start=block
                ):
                    here = inverse == position if len(indices) > 1 else slice(None)
                    found[here] = self._chunk((path, index))[rows[here] - index * per_chunk]
                self._cache.trim()
            results.append(found)
        return results

    def take(self, path: str, rows: np.ndarray) -> np.ndarray:
        """Scattered ``rows``, in the order asked for."""
        return self.take_many([path], rows)[0]

    def read_counts(self) -> np.ndarray:
        """(T, L, K) int64: how many living passages hold each code."""
        return self.read("code_counts", 0, self.config.counts_shape[0])

    # --- writing -------------------------------------------------------------------------------------

    def append_many(self, writes: Sequence[tuple[str, int, np.ndarray]]) -> None:
        """Write values from a first unwritten row on."""
        needed = [w for w in writes if not self.specs[w[0]].optional or (w[2] != self.specs[w[0]].fill).any()]
        partial = [(path, first // self.specs[path].rows_per_chunk) for path, first, _ in needed]
        self.load(partial)
        for path, first, values in needed:
            rows, stop = self.specs[path].rows_per_chunk, first + len(values)
            for key in self._keys(path, first, stop):
                offset = key[1] * rows
                low, high = max(first, offset), min(stop, offset + rows)
                if high - low == rows:
                    self._changed[key] = empty_chunk(self.specs[path])
                self._writable(key)[low - offset : high - offset] = values[low - first : high - first]

    def write_whole(self, path: str, index: int, values: np.ndarray) -> None:
        """Write all rows of one chunk, whatever it held."""
        if not self.specs[path].optional or (values != self.specs[path].fill).any():
            self._changed[path, index] = values

    def fill(self, path: str, rows: np.ndarray, value: Any) -> None:
        """Set scattered ``rows`` to one value."""
        per_chunk = self.specs[path].rows_per_chunk
        indices = np.unique(rows // per_chunk)
        self.load((path, index) for index in indices.tolist())
        for index in indices.tolist():
            here = rows[rows // per_chunk == index] - index * per_chunk
            self._writable((path, index))[here] = value

    def write_counts(self, counts: np.ndarray) -> None:
        """Replace the code counts."""
        self._changed["code_counts", 0] = counts

    def write_array(self, path: str, spec: ArraySpec, values: np.ndarray) -> None:
        """Make a new array holding ``values``; it joins ``specs``."""
        self.specs[path] = spec
        create_array(zarr.open_group(self._store, mode="r+"), path, len(values), spec)
        self._write_chunks(path, 0, values)

    def write_parts(self, path: str, spec: ArraySpec, rows: int, parts: Iterable[np.ndarray]) -> None:
        """`write_array` of ``rows`` values in ``parts``, which are handed to the session as they come."""
        self.specs[path] = spec
        create_array(zarr.open_group(self._store, mode="r+"), path, rows, spec)
        index, rest = 0, np.empty((0, *spec.tail), dtype=spec.numpy_dtype)
        for part in parts:
            values = np.concatenate([rest, part])
            whole = len(values) // spec.rows_per_chunk
            self._write_chunks(path, index, values[: whole * spec.rows_per_chunk])
            index, rest = index + whole, values[whole * spec.rows_per_chunk :]
            self.flush(header=False)
        self._write_chunks(path, index, rest)

    def _write_chunks(self, path: str, first: int, values: np.ndarray) -> None:
        rows = self.specs[path].rows_per_chunk
        for start in range(0, len(values), rows):
            part = values[start : start + rows]
            chunk = empty_chunk(self.specs[path])
            chunk[: len(part)] = part
            self._changed[path, first + start // rows] = chunk

    def _send(self, items: Iterable[tuple[str, bytes]]) -> None:
        with translated(self._location):
            wait(all_of(self._store.set(key, _PROTOTYPE.buffer.from_bytes(data)) for key, data in items))

    def delete(self, path: str) -> None:
        """Remove an array or group and everything under it."""
        wait(self._store.delete_dir(path))
        self._cache.keep(lambda key: not key[0].startswith(f"{path}/"))
        self._changed = {k: v for k, v in self._changed.items() if not k[0].startswith(f"{path}/")}

    def flush(self, header: bool = True) -> None:
        """Hand all changes, and the header, to the session."""
        items = [(self._storage_key(k), encode_chunk(v, self.specs[k[0]])) for k, v in self._changed.items()]
        if header:
            items.append(("zarr.json", encode_attributes(self._attributes)))

        self._send(items)
        for key, chunk in self._changed.items():
            self._cache.put(key, chunk)
        self._changed.clear()
        self._cache.trim()
