"""Items become rows, in a process that holds a model: documents are cut, tokenised and encoded.

A row says of a document what whoever commits has to know, and holds its record for whoever writes it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from mbc_store import DocumentRecord, MemoryStore
from mbc_store.errors import StoreError
from mbc_store.location import Location
from mbc_store.records import check_record

from mbc_cli.corpus.documents import Document, document_digest
from mbc_cli.distributed.reading import Failed, Item, objects
from mbc_cli.errors import MbcError

if TYPE_CHECKING:
    from mbc_cli.inference.adapters import Loading

Rows = dict[str, np.ndarray]
"""By name, each (n,): id (empty for what is no document), digest, passages (0 where there is no record),
characters, error (not a number where unknown), and what is pickled in ``content``: the record, the document
where there is none, or the item."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a process needs to encode as every other does.

    Attributes:
        adapter: its name as a store records it.
        fingerprint: of the adapter that made the store.
        loading: as for ``load_on``.
    """

    adapter: str
    fingerprint: str
    location: Location
    loading: Loading
    batch_size: int = 16
    window: int | None = None
    overlap: int | None = None


class Encoder:
    """Called with batches of pickled items, gives rows in their order.

    Documents that the store held as they are when the encoder began become rows without a record: they cost
    no forward pass.
    """

    def __init__(self, recipe: Recipe) -> None:
        from dataclasses import replace

        from mbc_cli.inference.adapters import load_on, resolve_adapter
        from mbc_cli.inference.forward import Windows

        self._recipe = recipe
        loaded = load_on(replace(resolve_adapter(recipe.adapter), chosen=False), **recipe.loading)
        self._model, self._tokenizers = loaded.model.eval(), loaded.tokenizers
        self._windows = Windows.of(self._model, self._tokenizers, recipe.window, recipe.overlap)
        store = MemoryStore.open(recipe.location, fingerprint=recipe.fingerprint)
        store.require_fingerprint(self._model.fingerprint())
        self._snapshot = store.snapshot()

    def __call__(self, batch: Mapping[str, Any]) -> Rows:
        items: list[Item] = [pickle.loads(item) for item in batch["item"].tolist()]
        try:
            return self._rows(items)
        except (MbcError, StoreError) as error:
            return rows_of([*(item for item in items if not isinstance(item, Document)), Failed(error)], {})

    def _rows(self, items: Sequence[Item]) -> Rows:
        given = [item for item in items if isinstance(item, Document)]
        stored = self._snapshot.digests([document.id for document in given])
        digests = [(document, document_digest(document)) for document in given]
        changed = [(document, digest) for document, digest in digests if stored.get(document.id) != digest]
        records = encoded(self._model, self._tokenizers, self._windows, changed, self._recipe.batch_size)
        checked = [check_record(record, self._snapshot.config) for record in records]
        each = zip(changed, checked, strict=True)
        return rows_of(items, {id(document): record for (document, _), record in each})


def encoded(
    model: Any, tokenizers: Any, windows: Any, documents: Sequence[tuple[Document, int]], batch_size: int
) -> list[DocumentRecord]:
    """The records of ``documents``, which come with their digests, in their order."""
    from mbc_cli.inference.encode import passage_codes
    from mbc_cli.inference.prepared import Prepared

    prepared = Prepared.of(model, tokenizers, windows, documents, size=len(documents), batch_size=batch_size)
    return prepared.records(*passage_codes(model, tokenizers, prepared.tokens))


def rows_of(items: Sequence[Item], records: Mapping[int, DocumentRecord]) -> Rows:
    """The rows of ``items``; ``records`` by what ``id()`` says of a document."""
    rows: list[tuple[str, int, int, int, float, bytes]] = []
    for item in items:
        if not isinstance(item, Document):
            rows.append(("", 0, 0, 0, np.nan, pickle.dumps(item)))
            continue
        record = records.get(id(item))
        if record is None:
            rows.append((item.id, document_digest(item), 0, item.characters, np.nan, pickle.dumps(item)))
            continue
        error = np.nan if record.quantization_error is None else record.quantization_error
        row = (item.id, record.digest, len(record.codes), item.characters, error, pickle.dumps(record))
        rows.append(row)
    ids, digests, passages, characters, errors, contents = zip(*rows, strict=True)
    return {
        "id": objects(ids),
        "digest": np.array(digests, dtype=np.uint64),
        "passages": np.array(passages, dtype=np.int64),
        "characters": np.array(characters, dtype=np.int64),
        "error": np.array(errors, dtype=np.float64),
        "content": objects(contents),
    }
