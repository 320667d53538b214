"""More documents than one machine encodes: workers read, encode and write, and this process commits.

Ray Data reads files in tasks and encodes in actors. Rows come back in the order of the input, as references;
their records stay with the workers. For each commit this process tells the workers which rows of the store
are theirs, in whole chunks, and writes what is left over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from mbc_store import DocumentRecord, MemoryStore
from mbc_store.records import check_record

from mbc_cli.corpus.bad_input import BadInput, BadInputs
from mbc_cli.corpus.documents import Document
from mbc_cli.distributed import cluster
from mbc_cli.distributed.encoder import Encoder, Recipe, encoded
from mbc_cli.distributed.reading import Failed, File, Item, Read, Reading, Remark
from mbc_cli.distributed.writing import TASK, RayBlock, Row, contents_of
from mbc_cli.errors import UsageError
from mbc_cli.inference.adapters import Loading
from mbc_cli.inference.chunks import CHUNK_CHARACTERS, SeenIds, chunks
from mbc_cli.inference.encode import EncodeReport
from mbc_cli.inference.forward import Windows
from mbc_cli.memory import Memory

EncodeHere = Callable[[Sequence[Document], Sequence[int]], list[DocumentRecord]]
COMMIT_EVERY = 65_536
_BLOCKS_AHEAD = 2
# Bytes of input that a worker gets at a time: of many documents per commit more.
_LEAST_BYTES, _MOST_BYTES, _BYTES_PER_DOCUMENT = 2**16, 2**23, 4


def encode_on_ray(
    memory: Memory,
    files: Sequence[File],
    bad: BadInputs,
    reading: Reading,
    address: str = cluster.LOCAL,
    *,
    loading: Loading,
    batch_size: int = 16,
    window: int | None = None,
    overlap: int | None = None,
    workers: int | None = None,
    commit_every: int | None = None,
    on_progress: Callable[[EncodeReport], None] | None = None,
    on_read: Callable[[int], object] = lambda size: None,
) -> EncodeReport:
    """Store the documents of ``files``, as ``mbc_cli.inference.encode.encode`` does.

    Args:
        memory: the store to write, and a model for the few documents that no worker has encoded.
        address: of the cluster; see ``cluster.running``.
        loading: how workers load the model; ``batch_size``, ``window`` and ``overlap`` as for ``encode``.
        bad: where records that cannot be used are counted; it decides whether the first one is fatal.
        workers: models at work; None is one per GPU, where the device may be one, else one per CPU.
        commit_every: documents per commit, 65,536 by default; fewer where they are long.
        on_progress: called with the report so far after every commit.
        on_read: called with how many bytes of the files were read.

    Raises:
        MbcError: a document cannot be encoded, bad input if ``bad`` says so, or Ray fails.
        StoreError: the store cannot be written. Everything committed before stays.
    """
    commit_every = COMMIT_EVERY if commit_every is None else commit_every
    recipe = Recipe(
        memory.adapter_name,
        memory.store.config.fingerprint,
        memory.store.location,
        loading,
        batch_size,
        window,
        overlap,
    )
    encode_here = _encoding_here(memory, recipe)
    with cluster.running(address, workers):
        return _encode(
            memory.store,
            files,
            bad,
            reading,
            recipe,
            encode_here,
            workers,
            commit_every,
            on_progress,
            on_read,
        )


def _encode(
    store: MemoryStore,
    files: Sequence[File],
    bad: BadInputs,
    reading: Reading,
    recipe: Recipe,
    encode_here: EncodeHere,
    workers: int | None,
    commit_every: int,
    on_progress: Callable[[EncodeReport], None] | None,
    on_read: Callable[[int], object],
) -> EncodeReport:
    if store.location.path is not None and not cluster.is_this_machine_alone():
        raise UsageError(
            f"{store.location} is a folder, and the cluster has other machines than this one",
            "use a store at s3:// or gs://, which all of them can write",
        )
    start = time.perf_counter()
    report = EncodeReport()
    seen = SeenIds()

    def documents() -> Iterator[Row]:
        for row in _rows(files, reading, recipe, workers, commit_every):
            if isinstance(row, Row):
                yield row
            else:
                _tell(row, bad, on_read)

    characters = CHUNK_CHARACTERS * max(1, commit_every // 256)
    with cluster.failures_named():
        for rows in chunks(seen.counting(documents()), commit_every, characters):
            block = RayBlock(rows, store.location, encode_here)
            digests = {row.id: row.digest for row in rows}
            counts, passages = store.commit_block(f"encode {len(rows)} documents", digests, block)
            report = replace(
                report,
                added=report.added + counts.added,
                replaced=report.replaced + counts.replaced,
                unchanged=report.unchanged + counts.unchanged,
                duplicates=seen.again,
                passages=report.passages + passages,
                commits=report.commits + bool(counts.changes),
                seconds=time.perf_counter() - start,
            )
            if on_progress is not None:
                on_progress(report)
    return report


def _rows(
    files: Sequence[File], reading: Reading, recipe: Recipe, workers: int | None, commit_every: int
) -> Iterator[Row | Item]:
    """Rows of documents and other items, in the order of the input."""
    import ray

    contents = ray.remote(**TASK)(contents_of)
    ahead: deque[tuple[Any, Any]] = deque()
    for bundle in _dataset(files, reading, recipe, workers, commit_every).iter_internal_ref_bundles():
        for entry in bundle.blocks:
            ahead.append((entry.ref, contents.remote(entry.ref)))
        while len(ahead) > _BLOCKS_AHEAD:
            block, known = ahead.popleft()
            yield from ray.get(known).rows(block)
    yield from chain.from_iterable(ray.get(known).rows(block) for block, known in ahead)


def _dataset(
    files: Sequence[File], reading: Reading, recipe: Recipe, workers: int | None, commit_every: int
) -> Any:
    """The pipeline: a task for every file, actors that encode."""
    from ray import data

    context = data.DataContext.get_current()
    size = max(_LEAST_BYTES, min(_MOST_BYTES, commit_every * _BYTES_PER_DOCUMENT))
    context.target_max_block_size = size
    wants_gpu = recipe.loading.get("device", "auto") != "cpu" and cluster.gpus() > 0
    count = workers or (cluster.gpus() if wants_gpu else cluster.cpus())
    named = [{"name": name, "format": format or ""} for name, format in files]
    read = data.from_items(named, override_num_blocks=len(named)).map_batches(
        reading, batch_size=1, num_cpus=TASK["num_cpus"]
    )
    return read.map_batches(
        Encoder,
        fn_constructor_args=(recipe,),
        batch_size=None,
        compute=data.ActorPoolStrategy(size=count),
        num_cpus=_cpus_of_actor(count),
        num_gpus=1 if wants_gpu else 0,
    )


def _cpus_of_actor(count: int) -> float:
    """So many that all actors fit beside the tasks that read and write, one at most."""
    return min(1.0, (cluster.cpus() - 2 * float(TASK["num_cpus"])) / count)


def _encoding_here(memory: Memory, recipe: Recipe) -> EncodeHere:
    """For documents that no worker has encoded: these are few."""
    windows = Windows.of(memory.model, memory.tokenizers, recipe.window, recipe.overlap)

    def encode(documents: Sequence[Document], digests: Sequence[int]) -> list[DocumentRecord]:
        given = list(zip(documents, digests, strict=True))
        records = encoded(memory.model, memory.tokenizers, windows, given, recipe.batch_size)
        return [check_record(record, memory.store.config) for record in records]

    return encode


def _tell(item: Item, bad: BadInputs, on_read: Callable[[int], object]) -> None:
    """Do with an item that is no document what reading it here would have done."""
    match item:
        case BadInput(place, reason):
            bad.add(place, reason)
        case Remark(place, what):
            bad.remark(place, what)
        case Read(size):
            on_read(size)
        case Failed(error):
            raise error
