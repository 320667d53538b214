"""Files that no program wrote, and files that one wrote and something spoilt, for ``mbc encode`` to read."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from mbc_store import MemoryStore
from pyarrow import parquet

from mbc_cli.cli.app import main
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.documents import document_digest
from mbc_cli.corpus.readers import read_documents
from mbc_cli.errors import ExitCode

Input = tuple[str, bytes]
"""The ending of a file's name, and what is in the file."""

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".md")
texts = st.text(max_size=40) | st.sampled_from(["The ferry left. ", "\ufeff", "\x00", '"', "a,b\tc", "é" * 9])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
named = [f"id-{n}" for n in range(1000)]
ids = st.sampled_from(named) | st.sampled_from(named) | values
moments = (
    st.sampled_from(["2026-05-01", "2026-05-01T10:00:00+02:00", "0001-01-01", 1e18, -1, "soon"]) | values
)
records = st.fixed_dictionaries(
    {"id": ids, "text": texts.map(lambda text: f"No {text * 3}") | texts | values},
    optional={"title": texts | values, "timestamp": moments, "source": values, "metadata": values},
)


def as_jsonl(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row, default=str).encode() for row in rows)


def as_table(rows: list[Any], delimiter: str) -> bytes:
    lines = [delimiter.join(("id", "text", "title"))]
    lines += [delimiter.join(str(row.get(name, "")) for name in ("id", "text", "title")) for row in rows]
    return "\n".join(lines).encode(errors="surrogatepass")


def as_parquet(rows: list[Any]) -> bytes:
    file = io.BytesIO()
    columns = {name: [str(row.get(name)) for row in rows] for name in ("id", "text", "title", "timestamp")}
    with contextlib.suppress(UnicodeEncodeError):
        parquet.write_table(pa.table(columns), file)
    return file.getvalue()


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    """One file: pure noise, a well-made one, or a well-made one cut short, overwritten or compressed."""
    suffix = draw(st.sampled_from(SUFFIXES))
    rows = draw(st.lists(records, max_size=4))
    makers = {".csv": lambda: as_table(rows, ","), ".tsv": lambda: as_table(rows, "\t")}
    makers |= {".parquet": lambda: as_parquet(rows), ".txt": lambda: draw(texts).encode()}
    noise = draw(st.none() | st.binary(max_size=200) | st.lists(values, max_size=4))
    if isinstance(noise, bytes):
        data = noise
    else:
        data = as_jsonl([*rows, *noise]) if noise else makers.get(suffix, lambda: as_jsonl(rows))()
    if draw(st.sampled_from([True, False, False, False])):
        data = data.replace(
            b"e", draw(st.sampled_from([b"\\ud800", b"\xff", b"", b"NaN", b"\r", b"{" * 2000]))
        )
    if draw(st.sampled_from([True, False, False])):
        data, suffix = gzip.compress(data, mtime=0), f"{suffix}.gz"
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=3)) + data[place + draw(st.integers(0, 9)) :]
    return suffix, data


def fuzzed_inputs(count: int, first_seed: int = 0) -> Iterator[list[Input]]:
    """``count`` files, a few hundred at a time, the same for the same seed."""
    while count > 0:
        found = _drawn(min(count, 500), first_seed)
        yield found
        count -= len(found)
        first_seed += 1


def _drawn(count: int, number: int) -> list[Input]:
    found: list[Input] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs())
    def collect(item: Input) -> None:
        found.append(item)

    collect()
    return found[:count]


class FuzzedMemory:
    """A memory that is fed folders of such files and must hold exactly what could be read of them."""

    def __init__(self, folder: Path, adapter: Path) -> None:
        self.folder = folder
        self.store = folder / "fuzzed.mbc"
        self.adapter = adapter
        self.expected: dict[str, int] = {}
        self.skipped = 0

    def feed(self, files: list[Input]) -> None:
        """Encode one folder through the command line, then compare the whole memory."""
        source = self.folder / f"inputs-{len(list(self.folder.iterdir()))}"
        source.mkdir()
        for number, (suffix, data) in enumerate(files):
            (source / f"{number:04d}{suffix}").write_bytes(data)
        bad = BadInputs()
        for document in read_documents([str(source)], bad):
            self.expected[document.id] = document_digest(document)
        self.skipped += bad.count
        code, err = run_encode(source, self.store, self.adapter)
        assert "Traceback" not in err, f"{source}: {err}"
        if not self.expected:
            assert code == ExitCode.FAILED, f"{source}: {err}"
            assert not self.store.exists(), source
            return
        assert code == (ExitCode.SKIPPED_INPUT if bad.count else ExitCode.DONE), f"{source}: {err}"
        store = MemoryStore.open(self.store)
        assert not store.verify(), source
        with store.snapshot() as snapshot:
            assert {d.id: d.digest for d in snapshot.iter_documents()} == self.expected, source


def run_encode(source: Path, store: Path, adapter: Path) -> tuple[int, str]:
    """Exit code and stderr of ``mbc encode``."""
    err = io.StringIO()
    arguments = ["encode", str(source), "--store", str(store), "--adapter", str(adapter), "--device", "cpu"]
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            main([*arguments, "--quiet"])
        except SystemExit as finished:
            return int(finished.code or 0), err.getvalue()
    return 0, err.getvalue()
