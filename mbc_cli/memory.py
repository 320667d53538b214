"""The Python API: a memory joins one adapter (how to encode and answer) and one store (what was encoded)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from mbc_store import MemoryStore, StoreConfig

from mbc_cli.corpus.documents import Document
from mbc_cli.inference.adapters import Quantize, load_on, resolve_adapter
from mbc_cli.inference.answer import Answer, AnswerStream, Source
from mbc_cli.inference.answerer import Answerer
from mbc_cli.inference.bank import CodeBank, MemoryFilter
from mbc_cli.inference.encode import EncodeReport, encode, require_codes
from mbc_cli.inference.forward import Windows
from mbc_cli.model.adapter import LoadedAdapter
from mbc_cli.model.select.model import SelectMemoryModel

At = str | datetime | None


class Memory:
    """Documents in, answers out.

    Example:
        >>> memory = Memory.create("news.mbc")                                   # doctest: +SKIP
        >>> memory.encode([Document(id="a", text="Mira Okafor opened the museum in Lindholm.")])
        >>> memory.answer(["Who opened the museum?"])[0].text

    The constructors load the adapter's model, which takes seconds; keep the object for many calls.
    Codes and counts stay in memory between calls until the store changes. One thread at a time.
    """

    def __init__(
        self, store: MemoryStore, adapter: LoadedAdapter, *, adapter_name: str, at: At = None
    ) -> None:
        self.store = store
        self.adapter_name = adapter_name
        self.model = adapter.model.eval()
        self.tokenizers = adapter.tokenizers
        self.calibration = adapter.calibration
        self._at = at
        self._bank: CodeBank | None = None

    @classmethod
    def open(
        cls,
        store: str | Path,
        adapter: str | Path | None = None,
        *,
        device: str = "auto",
        quantize: Quantize | None = None,
        base_model: str | None = None,
        at: At = None,
    ) -> Memory:
        """Open an existing store with the adapter that made it.

        Args:
            adapter: a directory, a hub id or ``"default"``; None is the adapter the store was made with.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; ``"auto"`` takes a GPU where there is one.
            quantize: load the LLM in 4 or 8 bits (needs bitsandbytes).
            base_model: another place of the adapter's LLM, such as a local copy.
            at: read the memory as of a snapshot, tag or time; it cannot be written then.

        Raises:
            StoreError: there is no store, or another adapter made it (both are named).
            MbcError: the adapter or its LLM cannot be loaded.
        """
        recorded = MemoryStore.open(store).config.adapter
        location = resolve_adapter(recorded if adapter is None else adapter)
        loaded = load_on(location, device, quantize, base_model)
        opened = MemoryStore.open(store, fingerprint=loaded.model.fingerprint(), at=at)
        return cls(opened, loaded, adapter_name=location.name, at=at)

    @classmethod
    def create(
        cls,
        store: str | Path,
        adapter: str | Path | None = None,
        *,
        keep_text: bool = True,
        device: str = "auto",
        quantize: Quantize | None = None,
        base_model: str | None = None,
        window: int | None = None,
        overlap: int | None = None,
    ) -> Memory:
        """Create an empty store for ``adapter`` (None is the bundled default); arguments as for :meth:`open`.

        Args:
            keep_text: keep the documents' text beside their codes: sources can then be shown, and the store
                encoded anew for another adapter, at the price of the text's bytes.
            window, overlap: what :meth:`encode` is going to be given, checked before anything is created;
                they are not remembered.

        Raises:
            StoreError: there is a store already, or it cannot be written.
            MbcError: the adapter or its LLM cannot be loaded, the adapter makes no codes, or the windows do
                not fit it. No store is created then.
        """
        location = resolve_adapter(adapter)
        loaded = load_on(location, device, quantize, base_model)
        config = loaded.model.config
        require_codes(config)
        Windows.of(loaded.model, loaded.tokenizers, window, overlap)
        created = MemoryStore.create(
            store,
            StoreConfig(
                slots=config.context_vectors,
                num_quantizers=config.quantizer.levels,
                codebook_size=config.quantizer.codes,
                fingerprint=loaded.model.fingerprint(),
                keep_text=keep_text,
                adapter=location.name,
                base_model=config.base_model,
                vector_width=config.quantizer.code_dimension or loaded.model.backbone.shape.hidden_size,
                quantization_error=(loaded.provenance or {}).get("quantization_error"),
            ),
        )
        return cls(created, loaded, adapter_name=location.name)

    @property
    def selects(self) -> bool:
        """Whether the adapter reads selected passages, and so can rank and name its sources."""
        return isinstance(self.model, SelectMemoryModel)

    @property
    def document_count(self) -> int:
        """Documents in the memory now."""
        with self.store.snapshot() as snapshot:
            return snapshot.document_count

    @property
    def context_width(self) -> int:
        """C, the columns of a context vector before quantisation."""
        return self.model.config.quantizer.code_dimension or self.model.backbone.shape.hidden_size

    def encode(
        self,
        documents: Iterable[Document],
        *,
        batch_size: int = 16,
        commit_every: int = 256,
        window: int | None = None,
        overlap: int | None = None,
        on_progress: Callable[[EncodeReport], None] | None = None,
    ) -> EncodeReport:
        """Store ``documents``: new ids are added, changed content replaces, equal content costs nothing.

        Documents are read lazily and committed every ``commit_every``; an interrupted run keeps what was
        committed, and running it again goes on from there.

        Args:
            batch_size: passages per forward pass.
            window: longest passage in tokens; None is all the adapter reads.
            overlap: tokens that neighbouring passages share; None is an eighth of the window.
            on_progress: gets the report so far after every commit.

        Raises:
            StoreError: the store cannot be written. What was committed stays.
            MbcError: the adapter has no quantiser, or the windows do not fit it.
        """
        return encode(
            self.model,
            self.tokenizers,
            self.store,
            documents,
            batch_size=batch_size,
            commit_every=commit_every,
            window=window,
            overlap=overlap,
            on_progress=on_progress,
        )

    def answer(
        self,
        questions: Sequence[str],
        *,
        top_k: int | None = None,
        since: int | None = None,
        until: int | None = None,
        where: Mapping[str, str] | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
        batch_size: int = 16,
    ) -> list[Answer]:
        """Answer ``questions``, in order; each answer says whether the memory spoke to its question.

        Args:
            top_k: passages read per question, for adapters that select; None is the adapter's own number.
            since, until: read only documents with ``since <= timestamp < until``, in microseconds since
                the Unix epoch, UTC.
            where: read only documents with this metadata.
            threshold: read the memory where the probability that it speaks to the question is at least this;
                0 is always. None is the adapter's own, or always if it is not calibrated.
            require_memory: abstain where the memory does not speak to the question. Otherwise the LLM
                answers untouched there.

        Raises:
            ValueError: ``top_k`` is below 1, ``threshold`` is not in [0, 1], or a question is empty.
            MbcError: a question is too long; ``threshold`` is set and the adapter is not calibrated.
        """
        rows = MemoryFilter(since, until, where or {})
        return self._answerer(questions, top_k, threshold).answer(
            questions,
            rows=rows,
            top_k=top_k,
            threshold=threshold,
            require_memory=require_memory,
            batch_size=batch_size,
        )

    def answer_stream(
        self,
        question: str,
        *,
        top_k: int | None = None,
        since: int | None = None,
        until: int | None = None,
        where: Mapping[str, str] | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
    ) -> AnswerStream:
        """Answer one question piece by piece; arguments as for :meth:`answer`.

        The sources are known before the first piece; iterate the result for the text.
        """
        rows = MemoryFilter(since, until, where or {})
        return self._answerer([question], top_k, threshold).stream(
            question, rows=rows, top_k=top_k, threshold=threshold, require_memory=require_memory
        )

    def answer_without_memory(self, questions: Sequence[str], *, batch_size: int = 16) -> list[Answer]:
        """What the LLM answers by itself: no prefix, no KV-LoRA, nothing read."""
        return self._answerer(questions).without_memory(questions, batch_size=batch_size)

    def search(
        self,
        questions: Sequence[str],
        *,
        top_k: int = 5,
        since: int | None = None,
        until: int | None = None,
        where: Mapping[str, str] | None = None,
        batch_size: int = 16,
    ) -> list[tuple[Source, ...]]:
        """The passages that speak most to each question, best first; arguments as for :meth:`answer`.

        Raises:
            MbcError: the adapter reads the whole bank and cannot rank passages.
        """
        rows = MemoryFilter(since, until, where or {})
        return self._answerer(questions, top_k).search(
            questions, rows=rows, top_k=top_k, batch_size=batch_size
        )

    def _answerer(
        self, questions: Sequence[str], top_k: int | None = None, threshold: float | None = None
    ) -> Answerer:
        if isinstance(questions, str):
            raise ValueError("questions is a string: give a list of questions")
        if any(not question.strip() for question in questions):
            raise ValueError("a question is empty: give the text of a question")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}: it must be at least 1")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}: it is a probability and lies in [0, 1]")
        snapshot = self.store.snapshot()
        if self._bank is not None and self._bank.snapshot.id == snapshot.id:
            snapshot.close()
        else:
            if self._bank is not None:
                self._bank.snapshot.close()
            self._bank = CodeBank(snapshot, self.model.device)
        return Answerer(self.model, self.tokenizers, self._bank, self.calibration)
