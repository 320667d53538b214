"""The Python API: a memory joins one adapter (how to encode and answer) and one store (what was encoded)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Unpack

from mbc_store import MemoryStore, StoreConfig, StoreNotFound, Where

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import UsageError
from mbc_cli.inference.adapters import Loading, load_on, resolve_adapter, resolve_recorded, store_config
from mbc_cli.inference.answer import Answer, AnswerStream, Source
from mbc_cli.inference.answerer import Answerer
from mbc_cli.inference.bank import CodeBank
from mbc_cli.inference.checks import check_questions, check_threshold, checked_count
from mbc_cli.inference.encode import EncodeReport, encode, require_codes
from mbc_cli.inference.forward import Windows
from mbc_cli.inference.memory_filter import MemoryFilter, Time
from mbc_cli.model.adapter import LoadedAdapter
from mbc_cli.reencode import KeptDocuments, ReencodeReport
from mbc_cli.stored_documents import Moment, StoredDocuments


class Memory(StoredDocuments):
    """Documents in, answers out.

    Example:
        >>> with Memory.create("news.mbc") as memory:                            # doctest: +SKIP
        ...     memory.encode([Document(id="a", text="Mira Okafor opened the museum in Lindholm.")])
        ...     memory.answer(["Who opened the museum?"])[0].text

    The constructors load the adapter's model, which takes seconds; keep the object for many calls. Codes and
    counts stay in memory between calls until the store changes. Threads may share it: they take turns, and
    while one encodes others get theirs after every commit. Many processes may have the same store open.

    Attributes:
        probes: how many codes each token of a question looks up in the store's posting lists, to compare the
            passages that these name; None: every passage is compared.
    """

    def __init__(self, store: MemoryStore, adapter: LoadedAdapter, *, adapter_name: str) -> None:
        super().__init__(store)
        self.adapter_name = adapter_name
        self.model = adapter.model.eval()
        self.tokenizers = adapter.tokenizers
        self.calibration = adapter.calibration
        self.probes: int | None = None
        self._bank: CodeBank | None = None

    # --- opening and closing -------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        store: str | Path | MemoryStore,
        adapter: str | Path | None = None,
        *,
        at: Moment | None = None,
        **loading: Unpack[Loading],
    ) -> Memory:
        """Open an existing store with the adapter that made it.

        Args:
            store: where it is, or the store itself, opened already (``at`` does not apply then).
            adapter: a directory, a hub id, ``"default"`` or ``"news"``; None is the adapter that the store
                was made with.
            at: read the memory as of a snapshot, tag or time; it cannot be written then.
            loading: see :class:`~mbc_cli.inference.adapters.Loading`.

        Raises:
            StoreError: there is no store, or another adapter made it (both are named).
            MbcError: the adapter or its LLM cannot be loaded.
        """
        opened = store if isinstance(store, MemoryStore) else MemoryStore.open(store, at=at)
        made_with = opened.config
        location = (
            resolve_recorded(made_with.adapter, made_with.fingerprint, opened.location)
            if adapter is None
            else resolve_adapter(adapter)
        )
        loaded = load_on(location, **loading)
        opened.require_fingerprint(loaded.model.fingerprint())
        loaded.model.fit_bank(opened.config.slots)
        return cls(opened, loaded, adapter_name=location.name)

    @classmethod
    def create(
        cls,
        store: str | Path,
        adapter: str | Path | None = None,
        *,
        keep_text: bool = True,
        window: int | None = None,
        overlap: int | None = None,
        **loading: Unpack[Loading],
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
        return cls._made(MemoryStore.create, store, adapter, keep_text, window, overlap, loading)

    @classmethod
    def open_or_create(
        cls,
        store: str | Path,
        adapter: str | Path | None = None,
        *,
        keep_text: bool | None = None,
        window: int | None = None,
        overlap: int | None = None,
        **loading: Unpack[Loading],
    ) -> Memory:
        """Open a store, or create it where there is none; of processes that do so at once one creates it.

        Arguments and errors are those of :meth:`open` and :meth:`create`.

        Raises:
            UsageError: ``keep_text`` is given and the store was made otherwise.
        """
        try:
            opened = MemoryStore.open(store)
        except StoreNotFound:
            make = MemoryStore.open_or_create  # another process may make it meanwhile
            memory = cls._made(make, store, adapter, keep_text is not False, window, overlap, loading)
        else:
            memory = cls.open(opened, adapter, **loading)
        if keep_text is not None and keep_text != memory.store.config.keep_text:
            kept = "does not keep" if keep_text else "keeps"
            raise UsageError(
                f"{store} {kept} text, which is settled when a store is created",
                "leave the option out, or use another store",
            )
        return memory

    @classmethod
    def _made(
        cls,
        make: Callable[[str | Path, StoreConfig], MemoryStore],
        store: str | Path,
        adapter: str | Path | None,
        keep_text: bool,
        window: int | None,
        overlap: int | None,
        loading: Loading,
    ) -> Memory:
        """A memory whose store ``make`` makes, once it is known that the adapter can fill it."""
        location = resolve_adapter(adapter)
        loaded = load_on(location, **loading)
        require_codes(loaded.model.config)
        Windows.of(loaded.model, loaded.tokenizers, window, overlap)
        made = make(store, store_config(loaded, location.name, keep_text=keep_text))
        return cls(made, loaded, adapter_name=location.name)

    @classmethod
    def reencode(
        cls,
        store: str | Path | MemoryStore,
        destination: str | Path,
        adapter: str | Path,
        *,
        batch_size: int = 16,
        on_progress: Callable[[EncodeReport], None] | None = None,
        **loading: Unpack[Loading],
    ) -> ReencodeReport:
        """Encode the kept texts of ``store`` with another adapter into a new memory; the old one stays.

        Where no texts were kept but codes are tokens, what these hold in words is encoded. An interrupted run
        is simply run again: it goes on where it stopped. The model of the old adapter is not needed.

        Raises:
            StoreError: the store keeps neither texts nor tokens, or one of both cannot be read or written.
            MbcError: the adapter or its LLM cannot be loaded.
        """
        kept = KeptDocuments(store if isinstance(store, MemoryStore) else MemoryStore.open(store))
        with cls.open_or_create(destination, adapter, **loading) as target:
            report = target.encode(kept, batch_size=batch_size, on_progress=on_progress)
        return ReencodeReport(report, tuple(kept.without_text), kept.are_telegrams)

    def as_of(self, at: Moment) -> Memory:
        """This memory as of ``at``, with the same model; it takes turns with this one. Close it after use."""
        past = copy(self)
        past.store, past._bank = MemoryStore.open(self.store.location, at=at), None
        return past

    # --- encoding and answering ----------------------------------------------------------------------

    @property
    def selects(self) -> bool:
        """Whether the adapter reads selected passages, and so can rank and name its sources."""
        return self.model.ranks_passages

    @property
    def context_width(self) -> int:
        """C, the columns of a context vector before quantisation."""
        return self.model.context_width

    def encode(
        self,
        documents: Iterable[Document],
        *,
        batch_size: int = 16,
        commit_every: int = 256,
        commit_seconds: float | None = None,
        window: int | None = None,
        overlap: int | None = None,
        on_progress: Callable[[EncodeReport], None] | None = None,
    ) -> EncodeReport:
        """Store ``documents``: new ids are added, changed content replaces, equal content costs nothing.

        Documents are read lazily and committed every ``commit_every``; an interrupted run keeps what was
        committed, and running it again goes on from there.

        Args:
            commit_seconds: read ``documents`` in a thread, and commit also when so long has passed since the
                first that is not, and what was read before Ctrl-C or a failure of ``documents``.
            batch_size: passages of full length per forward pass; of shorter ones as many tokens.
            window: longest passage in tokens; None is all the adapter reads.
            overlap: tokens that neighbouring passages share; None is an eighth of the window.
            on_progress: gets the report so far after every commit.

        Raises:
            StoreError: the store cannot be written. What was committed stays.
            MbcError: the adapter has no quantiser, the windows do not fit it, or ``documents`` are none.
        """
        return encode(
            self.model,
            self.tokenizers,
            self.store,
            documents,
            batch_size=checked_count("batch_size", batch_size),
            commit_every=checked_count("commit_every", commit_every),
            commit_seconds=commit_seconds,
            window=window,
            overlap=overlap,
            on_progress=on_progress,
            turn=self._turn,
        )

    def answer(
        self,
        questions: Sequence[str],
        *,
        top_k: int | None = None,
        since: Time | None = None,
        until: Time | None = None,
        where: Where | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
        fallback: bool | None = None,
        prefer_newer: bool = False,
        batch_size: int = 16,
    ) -> list[Answer]:
        """Answer ``questions``, in order; each answer says whether the memory spoke to its question.

        Args:
            top_k: passages read per question, for adapters that select; None is the adapter's own number.
            since, until: read only documents with ``since <= timestamp < until``.
            where: read only documents that meet these conditions on their metadata: ``{"year": 2021}``, or
                ``["year>=2021", "source!=blog"]`` (docs/filters.md).
            threshold: read the memory where the probability that it speaks to the question is at least this;
                0 is always. None is the adapter's own, or always if it is not calibrated.
            require_memory: abstain where the memory does not speak to the question; goes before ``fallback``.
            fallback: whether the LLM answers there, untouched; else the answer has ``abstained``. None is
                the adapter's habit: the bundled ones abstain, those that do not say answer.
            prefer_newer: of passages that speak to a question about as much as the best one, read the newest.

        Raises:
            ValueError: ``top_k`` is below 1, ``threshold`` is not in [0, 1], or a question is empty.
            MbcError: a question is too long; ``threshold`` is set and the adapter is not calibrated.
        """
        with self._turn():
            return self._answerer(questions, top_k, threshold, prefer_newer).answer(
                questions,
                filter=MemoryFilter.of(since, until, where),
                top_k=top_k,
                threshold=threshold,
                require_memory=require_memory or not self._falls_back(fallback),
                batch_size=checked_count("batch_size", batch_size),
            )

    def stream(
        self,
        question: str,
        *,
        top_k: int | None = None,
        since: Time | None = None,
        until: Time | None = None,
        where: Where | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
        fallback: bool | None = None,
        prefer_newer: bool = False,
    ) -> AnswerStream:
        """Answer one question piece by piece; arguments as for :meth:`answer`.

        The sources are known before the first piece; iterate the result for the text.
        """
        with self._turn():
            stream = self._answerer([question], top_k, threshold, prefer_newer).stream(
                question,
                filter=MemoryFilter.of(since, until, where),
                top_k=top_k,
                threshold=threshold,
                require_memory=require_memory or not self._falls_back(fallback),
            )
        return AnswerStream(stream.known, self._in_turns(iter(stream)), lambda _: stream.answer)

    def _falls_back(self, fallback: bool | None) -> bool:
        habit = self.calibration is None or self.calibration.fallback
        return habit if fallback is None else fallback

    def _in_turns(self, pieces: Iterator[str]) -> Iterator[str]:
        """``pieces``, each made when it is this thread's turn: others answer while one is being shown."""
        while True:
            with self._turn():
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def answer_without_memory(self, questions: Sequence[str], *, batch_size: int = 16) -> list[Answer]:
        """What the LLM answers by itself: no prefix, no KV-LoRA, nothing read."""
        with self._turn():
            return self._answerer(questions).without_memory(
                questions, batch_size=checked_count("batch_size", batch_size)
            )

    def search(
        self,
        questions: Sequence[str],
        *,
        top_k: int = 5,
        since: Time | None = None,
        until: Time | None = None,
        where: Where | None = None,
        prefer_newer: bool = False,
        batch_size: int = 16,
    ) -> list[tuple[Source, ...]]:
        """The passages that speak most to each question, best first; arguments as for :meth:`answer`.

        Raises:
            MbcError: the adapter reads the whole bank and cannot rank passages.
        """
        with self._turn():
            return self._answerer(questions, top_k, prefer_newer=prefer_newer).search(
                questions,
                filter=MemoryFilter.of(since, until, where),
                top_k=top_k,
                batch_size=checked_count("batch_size", batch_size),
            )

    def _answerer(
        self,
        questions: Sequence[str],
        top_k: int | None = None,
        threshold: float | None = None,
        prefer_newer: bool = False,
    ) -> Answerer:
        """What answers ``questions`` from the newest snapshot, once the arguments are known to be usable."""
        check_questions(questions)
        check_threshold(threshold)
        if top_k is not None:
            checked_count("top_k", top_k)
        snapshot = self.store.snapshot()
        if self._bank is not None and self._bank.snapshot.id == snapshot.id:
            snapshot.close()
        else:
            self._release()
            self._bank = CodeBank(snapshot, self.model.device)
        self._bank.probes = self.probes
        return Answerer(self.model, self.tokenizers, self._bank, self.calibration, prefer_newer=prefer_newer)

    def _release(self) -> None:
        if self._bank is not None:
            self._bank.snapshot.close()
            self._bank = None
