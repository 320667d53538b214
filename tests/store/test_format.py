"""The bytes on disk: what a header may say, plain Zarr reads them, nothing in them is executed."""

from __future__ import annotations

import json
from pathlib import Path

import icechunk
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mbc_store import MemoryStore, StoreConfig
from mbc_store.chunks import decode_chunk, empty_chunk, encode_chunk
from mbc_store.errors import DamagedChunk, StoreCorrupt
from mbc_store.format import ArraySpec, array_specs, read_attributes

from tests.support.store import SMALL, make_records, state_of

HEADER = {
    "format": "mbc-store",
    "version": 2,
    "config": {
        "slots": 3,
        "levels": 2,
        "codes": 32,
        "fingerprint": "test",
        "keep_text": True,
        "adapter": "default",
        "base_model": None,
        "vector_width": 6,
        "quantization_error": 0.25,
    },
    "index_runs": [],
    "lengths": {"rows": 7, "documents": 5, "alive": 4},
}
"""Of a store of format 2, as docs/store-format.md gives it."""


def test_a_header_of_format_2_is_read() -> None:
    config, lengths = read_attributes(HEADER, "here")
    assert config.code_shape == (3, 2, 32)
    assert (config.fingerprint, config.adapter, config.vector_width) == ("test", "default", 6)
    assert (lengths.rows, lengths.documents, lengths.alive) == (7, 5, 4)
    assert config.header() == HEADER["config"]


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_a_store_of_another_format_is_refused_in_one_line(version: object) -> None:
    with pytest.raises(StoreCorrupt) as refused:
        read_attributes(HEADER | {"version": version}, "old.mbc")
    assert refused.value.message == f"old.mbc has store format {version!r}, this program reads format 2"
    assert refused.value.hint is not None


def test_plain_zarr_reads_what_the_format_says(store: MemoryStore) -> None:
    records = make_records(0, 50)
    with store.transaction("load") as transaction:
        transaction.upsert(records)
    repository = icechunk.Repository.open(
        icechunk.local_filesystem_storage(str(store.location.repository_path))
    )
    group = zarr.open_group(repository.readonly_session("main").store, mode="r")
    lengths = group.attrs["lengths"]
    assert group.attrs["config"] == SMALL.header()
    codes = np.concatenate([record.codes for record in records])
    assert lengths == {"rows": len(codes), "documents": 50, "alive": 50}
    assert np.array_equal(group["passages/codes"][: lengths["rows"]], codes)
    assert group["passages/alive"][: lengths["rows"]].all()
    assert group["passages/alive"][lengths["rows"] :].all()
    assert group["documents/id"][:50].tolist() == [record.id for record in records]
    assert group["documents/text"][:50].tolist() == [record.text for record in records]
    assert group["documents/digest"][:50].tolist() == [record.digest for record in records]
    assert (
        group["documents/first_row"][:50].tolist()
        == np.cumsum([0, *(len(r.codes) for r in records)])[:50].tolist()
    )
    assert group["code_counts"][:].sum() == codes.size


def test_what_plain_zarr_writes_is_read(store: MemoryStore) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 5))

    def rename(session: icechunk.Session) -> dict:
        group = zarr.open_group(session.store, mode="r+")
        group["documents/title"][2] = "by hand"
        group["documents/digest"][:] = group["documents/digest"][:]
        return {"operation": "test"}

    store.repository.commit("rename", rename)
    with store.snapshot() as snapshot:
        assert snapshot.document("doc-2").title == "by hand"
    assert len(state_of(store)) == 5


chunks = st.one_of(
    *(
        hnp.arrays(dtype, (7, 3), elements=hnp.from_dtype(np.dtype(dtype))).map(lambda a: (a.dtype.name, a))
        for dtype in ("uint16", "uint32", "int64", "uint64", "bool")
    ),
    st.lists(st.text(), min_size=21, max_size=21).map(lambda v: ("str", np.array(v, object).reshape(7, 3))),
)


@given(chunks, st.booleans(), st.booleans(), st.integers(0, 7))
@settings(max_examples=120, deadline=None)
def test_any_chunk_comes_back_as_it_was(
    chunk: tuple[str, np.ndarray], by_column: bool, unordered: bool, used: int
) -> None:
    dtype, values = chunk
    number = dtype not in ("str", "bool")
    spec = ArraySpec((3,), 7, dtype, "" if dtype == "str" else 0, False, by_column and number, unordered)
    values[used:] = spec.fill
    decoded = decode_chunk(encode_chunk(values, spec), spec)
    assert decoded.shape == values.shape
    assert decoded.tolist() == values.tolist()


def skewed_codes(rows: int, spec: ArraySpec) -> tuple[np.ndarray, float]:
    """Codes of unequally skewed slots, numbered by frequency, and their entropy within slots in bytes."""
    generator = np.random.default_rng(rows)
    codes = np.empty((rows, *spec.tail), np.uint16)
    bits = 0.0
    for slot in range(spec.tail[0]):
        shares = np.arange(1, 257) ** -(0.3 + 0.6 * slot)
        codes[:, slot, 0] = generator.choice(256, rows, p=shares / shares.sum())
        found = np.unique(codes[:, slot, 0], return_counts=True)[1] / rows
        bits -= rows * (found * np.log2(found)).sum()
    return codes, bits / 8


@pytest.mark.parametrize(("rows", "limit"), [(8192, 1.05), (1000, 1.15)])
def test_codes_take_little_more_than_their_entropy_within_slots(rows: int, limit: float) -> None:
    spec = array_specs(StoreConfig(slots=4, num_quantizers=1, codebook_size=256, fingerprint="x"))[
        "passages/codes"
    ]
    codes, entropy = skewed_codes(rows, spec)
    chunk = empty_chunk(spec)
    chunk[:rows] = codes
    data = encode_chunk(chunk, spec)
    assert len(data) <= limit * entropy
    assert np.array_equal(decode_chunk(data, spec), chunk)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damaged_or_foreign_bytes_are_taken_for_a_chunk(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(array_specs(SMALL))))
    spec = array_specs(SMALL)[path]
    good = bytearray(
        encode_chunk(
            np.full(
                (spec.rows_per_chunk, *spec.tail), spec.fill, object if spec.dtype == "str" else spec.dtype
            ),
            spec,
        )
    )
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(good) - 1))
        good[position] ^= data.draw(st.integers(1, 255))
    else:
        good = bytearray(data.draw(st.binary(max_size=200)))
    with pytest.raises(DamagedChunk):
        decode_chunk(bytes(good), spec)


@given(st.binary(max_size=60), st.sampled_from(sorted(array_specs(SMALL))))
@settings(max_examples=150, deadline=None)
def test_bytes_with_a_right_checksum_but_wrong_contents_are_refused(body: bytes, path: str) -> None:
    import google_crc32c

    forged = body + google_crc32c.value(body).to_bytes(4, "little")
    with pytest.raises(DamagedChunk):
        decode_chunk(forged, array_specs(SMALL)[path])


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 1},
        {"version": 3},
        {"config": {}},
        {"config": {"slots": 3, "levels": 2, "codes": 32, "fingerprint": "x", "unknown": 1}},
        {"config": {"slots": -3, "levels": 2, "codes": 32, "fingerprint": "x"}},
        {"lengths": {"rows": "many"}},
        {"lengths": {"rows": -1, "documents": 0, "alive": 0}},
        {"lengths": {"rows": 10**15, "documents": 5, "alive": 5}},
    ],
)
def test_a_strange_header_is_one_clear_error(store: MemoryStore, change: dict) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 5))

    def tamper(session: icechunk.Session) -> dict:
        zarr.open_group(session.store, mode="r+").update_attributes(change)
        return {"operation": "test"}

    store.repository.commit("tamper", tamper)
    with pytest.raises((StoreCorrupt, AssertionError)):
        state_of(MemoryStore.open(store.location))


def test_no_part_of_the_store_unpickles_or_evaluates(store: MemoryStore) -> None:
    import mbc_store as package

    for path in Path(package.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for forbidden in ("import pickle", "pickle.load", "eval(", "exec(", "allow_pickle", "extractall"):
            assert forbidden not in text, (path, forbidden)


def test_array_metadata_names_only_known_codecs(store: MemoryStore) -> None:
    found = set()
    session = store.repository.icechunk.readonly_session("main")
    for path in array_specs(SMALL):
        data = zarr.open_group(session.store, mode="r")[path].metadata.to_dict()
        found |= {c["name"] for c in json.loads(json.dumps(data["codecs"], default=str))}
    assert found == {"transpose", "numcodecs.pcodec", "vlen-utf8", "bytes", "zstd", "crc32c"}


def test_xarray_opens_the_arrays_of_a_store_as_data_sets(store: MemoryStore) -> None:
    records = make_records(0, 9)
    with store.transaction("load") as transaction:
        transaction.upsert(records)
    repository = icechunk.Repository.open(
        icechunk.local_filesystem_storage(str(store.location.repository_path))
    )
    session = repository.readonly_session("main")
    rows = sum(len(record.codes) for record in records)
    passages = xarray.open_zarr(session.store, group="passages", consolidated=False)
    assert passages.codes.dims == ("passage", "slot", "level")
    codes = passages.codes.isel(passage=slice(rows)).values
    assert np.array_equal(codes, np.concatenate([record.codes for record in records]))
    documents = xarray.open_zarr(session.store, group="documents", consolidated=False)
    assert documents.id.isel(document=slice(len(records))).values.tolist() == [r.id for r in records]
    counts = xarray.open_zarr(session.store, consolidated=False).code_counts
    assert counts.dims == ("slot", "level", "code")
    assert int(counts.sum()) == codes.size
