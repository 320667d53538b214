"""Documents become codes in the store: one forward pass per passage, no gradients.

Work goes in chunks of ``commit_every`` documents, three of which are under way at a time (stages.py). Each
chunk is one transaction, so an interrupted run loses at most those, and running it again skips everything
already stored with equal content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import torch
from mbc_store import MemoryStore

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import AdapterError, UsageError
from mbc_cli.inference.chunks import SeenIds, chunks
from mbc_cli.inference.forward import TokenRows, Windows, encoded_passages
from mbc_cli.inference.stages import Stages, Stored
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.read_ahead import Pause, ReadAhead
from mbc_cli.reporting import progress


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What happened to the documents so far; ``seconds`` is wall-clock time, reading included.

    ``duplicates`` counts documents whose id came again in the same call: the later one is what is stored.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    duplicates: int = 0
    passages: int = 0
    commits: int = 0
    seconds: float = 0.0

    @property
    def documents(self) -> int:
        """Documents dealt with, whatever became of them."""
        return self.added + self.replaced + self.unchanged


def encode(
    model: MemoryModel,
    tokenizers: Tokenizers,
    store: MemoryStore,
    documents: Iterable[Document],
    *,
    batch_size: int = 16,
    commit_every: int = 256,
    commit_seconds: float | None = None,
    window: int | None = None,
    overlap: int | None = None,
    on_progress: Callable[[EncodeReport], None] | None = None,
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> EncodeReport:
    """Store the codes of ``documents``; an id already stored with equal content costs no forward pass.

    That holds for equal content in other windows as well: a stored document keeps the passages it has.

    Args:
        documents: read once, lazily; at most three times ``commit_every`` of them are held at a time. Of
            equal ids the later document counts.
        commit_seconds: for documents that come when they come, as from a pipe: they are read in a thread, and
            committed when this many seconds have passed since the first that is not, and before an
            interruption or a failure of theirs ends the run.
        batch_size: a forward pass takes as many tokens as so many passages of full length hold; of shorter
            ones more.
        window: longest passage in tokens; None is all the adapter reads.
        overlap: tokens that neighbouring passages share; None is an eighth of the window.
        on_progress: called with the report so far after every commit.
        turn: entered while the model and the store are in use, and left while documents are read.

    Raises:
        AdapterError: the adapter has no quantiser, so there are no codes to store, or makes vectors that are
            not finite.
        UsageError: ``window`` or ``overlap`` does not fit the adapter, ``batch_size`` or ``commit_every`` is
            below 1, or ``documents`` are not documents.
        StoreError: the store cannot be written. Everything committed before stays.
    """
    if batch_size < 1 or commit_every < 1:
        raise UsageError(f"batch_size={batch_size} and commit_every={commit_every}: both must be at least 1")
    if isinstance(documents, str | bytes | Mapping | Document) or not isinstance(documents, Iterable):
        raise UsageError(
            f"documents is of type {type(documents).__name__}", "give a list of Document(id=..., text=...)"
        )
    require_codes(model.config)
    windows = Windows.of(model, tokenizers, window, overlap)
    start = time.perf_counter()
    report = EncodeReport(seconds=0.0)
    seen = SeenIds()
    arriving: ReadAhead[Document] | None = None
    source: Iterable[Document | Pause] = documents
    if commit_seconds is not None:
        arriving = ReadAhead(lambda put: _each(documents, put))
        source = arriving.with_pauses(commit_seconds)

    def told(stored: Stored | None) -> None:
        nonlocal report
        if stored is None:
            return
        counts = stored.counts
        report = replace(
            report,
            added=report.added + counts.added,
            replaced=report.replaced + counts.replaced,
            unchanged=report.unchanged + stored.size - stored.records + counts.unchanged,
            duplicates=seen.again,
            passages=report.passages + stored.passages,
            commits=report.commits + bool(counts.changes),
            seconds=time.perf_counter() - start,
        )
        if on_progress is not None:
            on_progress(report)

    codes = partial(passage_codes, model, tokenizers)
    with Stages(model, tokenizers, store, codes, windows=windows, batch_size=batch_size, turn=turn) as stages:

        def finish() -> None:
            while not stages.is_empty:
                told(stages.advance(None))

        def store_at_once(chunk: Sequence[Document]) -> None:
            told(stages.advance(chunk))
            finish()

        def before_failure(chunks: Iterator[list[Document]]) -> Iterator[list[Document]]:
            """``chunks``; where they fail, those that came before are stored first."""
            try:
                yield from chunks
            except Exception:
                finish()
                raise

        try:
            for chunk in before_failure(chunks(seen.counting(_checked(source)), commit_every)):
                if arriving is None:
                    told(stages.advance(chunk))
                    continue
                try:
                    store_at_once(chunk)
                except KeyboardInterrupt:
                    if arriving.stopped:
                        raise
                    # What was read of a pipe does not come again. The next interruption ends at once.
                    arriving.stopped = True
                    stages.drop()
                    store_at_once(chunk)
        except KeyboardInterrupt:
            told(stages.commit_encoded())
            raise
        finish()
    if arriving is not None and arriving.stopped:
        raise KeyboardInterrupt
    return report


def _each(documents: Iterable[Document], put: Callable[[Document], None]) -> None:
    for document in documents:
        put(document)


def prefetched(documents: Iterable[Document], *, commit_every: int) -> Iterator[Document]:
    """``documents``, those of the first commit read already: what ends the run there ends it now."""
    rest = iter(documents)
    return chain(next(chunks(rest, commit_every), []), rest)


def require_codes(config: MemoryConfig) -> None:
    """Raise MbcError if an adapter makes no codes: its bank of plain vectors (MAC) cannot be stored."""
    if config.quantizer.kind == "none":
        raise AdapterError(
            "this adapter has no quantiser (quantizer.kind is 'none'): its documents have no codes to store",
            "use an adapter with quantizer.kind vq, rvq or vocabulary",
        )


def encode_texts(
    model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str], *, batch_size: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the codes (passages, T, L) int64 and the quantisation errors (passages,) float32 of ``texts``.

    The error is the mean squared difference between the context vectors and what their codes decode to; the
    errors are None where codes are tokens.
    """
    require_codes(model.config)
    passages = TokenRows.of(model, tokenizers, texts, batch_size=batch_size)
    return passage_codes(model, tokenizers, passages)


@torch.inference_mode()
def passage_codes(
    model: MemoryModel, tokenizers: Tokenizers, passages: TokenRows
) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes (passages, T, L) int64 and errors (passages,) float32, or None, as in ``encode_texts``."""
    count = len(passages.rows)
    codes = np.zeros((count, *model.code_shape[:2]), dtype=np.int64)
    errors = np.zeros(count, dtype=np.float32)
    quantized = True
    with progress("passages", total=count, unit="passages") as advance:
        for places, encoded in encoded_passages(model, tokenizers, passages):
            assert encoded.codes is not None
            codes[places] = encoded.codes.cpu().numpy()
            quantized = encoded.error is not None
            if encoded.error is not None:
                errors[places] = encoded.error.cpu().numpy()
            advance(len(places))
    return codes, errors if quantized else None


def mean_quantization_error(
    model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str], *, batch_size: int
) -> float | None:
    """The mean of ``encode_texts``' errors; None if there are no texts or the model makes no codes."""
    if not texts or model.config.quantizer.kind == "none":
        return None
    errors = encode_texts(model, tokenizers, texts, batch_size=batch_size)[1]
    return None if errors is None else float(errors.mean())


def _checked(documents: Iterable[Document | Pause]) -> Iterator[Document | Pause]:
    for document in documents:
        if not isinstance(document, Document | Pause):
            raise UsageError(
                f"a document is of type {type(document).__name__}",
                "give Document(id=..., text=...) for each",
            )
        yield document
