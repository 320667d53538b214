"""``mbc encode``: documents into the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from mbc_cli.cli import output, process, ray_option
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.help_page import INPUT
from mbc_cli.cli.options import (
    DEFAULT_STORE,
    MOST,
    Adapter,
    BaseModel,
    BatchSize,
    Delimiter,
    Device,
    DocumentFormat,
    Json,
    OnBadTime,
    OnError,
    Quantize,
    Store,
    count,
)
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.errors import InputError, UsageError

if TYPE_CHECKING:
    from mbc_cli.corpus.documents import Document
    from mbc_cli.inference.encode import EncodeReport
    from mbc_cli.memory import Memory

COMMIT_EVERY = 256


def encode(
    corpus: Annotated[
        list[str],
        typer.Argument(metavar="CORPUS...", help="Files, folders, or - for stdin.", show_default=False),
    ],
    store: Store = DEFAULT_STORE,
    adapter: Adapter = None,
    batch_size: BatchSize = 16,
    commit_every: Annotated[
        int | None,
        count("--commit-every", "Documents per commit; else 256, with --ray 65536."),
    ] = None,
    commit_seconds: Annotated[
        float,
        typer.Option(
            "--commit-seconds",
            metavar="N",
            min=0.01,
            max=MOST,
            help="Of a pipe: seconds until a commit.",
        ),
    ] = 5.0,
    window: Annotated[
        int | None,
        count("--window", "Tokens per passage; by default all that fit."),
    ] = None,
    overlap: Annotated[
        int | None,
        count("--overlap", "Tokens neighbours share; by default an eighth.", least=0),
    ] = None,
    on_error: OnError = "skip",
    keep_text: Annotated[
        bool | None,
        typer.Option(
            "--keep-text/--no-keep-text",
            help="Keep texts beside codes; settled when a store is made.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="On a cluster of Ray; with no address, here.",
        ),
    ] = None,
    workers: Annotated[int | None, count("--workers", "With --ray: models, else one per GPU or CPU.")] = None,
    format: DocumentFormat = None,
    delimiter: Delimiter = None,
    id_field: Annotated[
        str, typer.Option("--id-field", help="What the corpus calls the id.", rich_help_panel=INPUT)
    ] = "id",
    text_field: Annotated[
        str, typer.Option("--text-field", help="... its text.", rich_help_panel=INPUT)
    ] = "text",
    title_field: Annotated[
        str, typer.Option("--title-field", help="... its title.", rich_help_panel=INPUT)
    ] = "title",
    timestamp_field: Annotated[
        str, typer.Option("--timestamp-field", help="... its time.", rich_help_panel=INPUT)
    ] = "timestamp",
    on_bad_time: OnBadTime = "skip",
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Put documents into the memory: one forward pass each, no training.

    Reads JSONL, CSV, TSV, Parquet, text and Markdown files, plain or compressed with gzip or zstd, with the
    extra documents HTML, PDF and Word files, and folders of them. A document has an id and a text, and may
    have a title and a timestamp; all other fields become metadata. Documents too long for the model become
    several passages. The same id with the same content
    costs nothing, with other content replaces what was stored, so an interrupted run is simply run again;
    of equal ids the later one counts.
    Input that cannot be used is named and skipped, and the exit code is 3.

    Examples:

      mbc encode news.jsonl --store news.mbc

      mbc encode archive/ notes.csv.gz --text-field body --timestamp-field date

      echo "Mira Okafor opened the museum in Lindholm." | mbc encode - --store news.mbc
    """
    from mbc_store import MemoryStore

    from mbc_cli.corpus.readers import files_passed_over, find_files, read_documents
    from mbc_cli.corpus.records import FieldNames
    from mbc_cli.corpus.streams import size_of
    from mbc_cli.distributed.cluster import require_ray

    if window is not None and overlap is not None and 2 * overlap >= window:
        raise UsageError(f"--overlap {overlap} is not under half of --window {window}")
    if workers is not None and ray is None:
        raise UsageError("--workers goes with --ray")
    # A wrong name is told before a model is loaded.
    sizes = [size_of(source) for source, _ in find_files(corpus, format)]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    if (address := ray_option.checked(ray)) is not None:
        require_ray(address)
        if total is None:
            raise UsageError("--ray reads files, which its workers open", "leave it out for stdin and pipes")
    if others := files_passed_over(corpus, format):
        output.note(f"files of no known format, not read: {len(others):,}, such as {others[0]}")
    bad = counted_bad_inputs(on_error)
    read: list[int] = []  # bytes that the documents of the next commit are from
    names = FieldNames(id_field, text_field, title_field, timestamp_field)

    def documents_read(bad: BadInputs) -> Iterator[Document]:
        return read_documents(
            corpus,
            bad,
            names=names,
            format=format,
            delimiter=delimiter,
            on_bad_time=on_bad_time,
            on_read=read.append,
        )

    files = find_files(corpus, format, bad.add) if ray else []
    documents = iter(()) if ray else documents_read(bad)
    with output.progress("loading PyTorch"):
        from mbc_cli.inference.encode import prefetched
        from mbc_cli.memory import Memory

    new = not MemoryStore.exists(store)
    if new:
        if ray:  # the workers read, and tell of bad input; here it matters whether there is anything at all
            documents = documents_read(BadInputs(on_error))
        elif total is not None:  # an early end must not leave an empty store, nor a pipe be waited for
            documents = prefetched(documents, commit_every=commit_every or COMMIT_EVERY)
        if (first := next(documents, None)) is None:
            for _ in documents_read(bad) if ray else ():
                pass  # say what is wrong with all of it
            raise InputError("the input holds no document that can be used", f"no store was made at {store}")
        documents = chain([first], documents)

    memory = Memory.open_or_create(
        store,
        adapter,
        keep_text=keep_text,
        window=window,
        overlap=overlap,
        device="cpu" if ray and not quantize else device,
        base_model=base_model,
        quantize=quantize,
    )
    if new:
        output.note(f"new store {store} for adapter {memory.adapter_name}")
    shown = 0
    with (
        process.told_if_interrupted(lambda: f"{shown:,} documents are stored; run it again to go on"),
        output.progress("encoding", total=total, unit="documents" if total is None else "bytes") as advance,
    ):

        def on_progress(report: EncodeReport) -> None:
            nonlocal shown
            if total is None:
                advance(report.documents - shown)
            else:
                pace = report.documents / report.seconds
                advance(
                    sum(read),
                    also=f"{report.documents:,} documents, {pace:,.0f} documents/s",
                )
            read.clear()
            shown = report.documents

        if ray:
            from mbc_cli.distributed.encode import encode_on_ray
            from mbc_cli.distributed.reading import Reading

            read.clear()
            report = encode_on_ray(
                memory,
                files,
                bad,
                Reading(names, delimiter, on_bad_time),
                ray,
                loading={"device": device, "base_model": base_model, "quantize": quantize},
                batch_size=batch_size,
                window=window,
                overlap=overlap,
                workers=workers,
                commit_every=commit_every,
                on_progress=on_progress,
                on_read=read.append,
            )
        else:
            report = memory.encode(
                documents,
                batch_size=batch_size,
                commit_every=commit_every or COMMIT_EVERY,
                commit_seconds=commit_seconds if total is None else None,
                window=window,
                overlap=overlap,
                on_progress=on_progress,
            )
    if json:
        rate = report.documents / report.seconds if report.seconds else 0.0
        summary = {**asdict(report), "documents": report.documents, "documents_per_second": round(rate, 2)}
        examples = [str(piece) for piece in bad.examples]
        output.write_json(
            {
                "store": store,
                "adapter": memory.adapter_name,
                **summary,
                "skipped": bad.count,
                "skips": examples,
                "remarks": dict(bad.remarks),
            }
        )
    else:
        _write_summary(report, store, memory)
    exit_if_skipped(bad)


def _write_summary(report: EncodeReport, store: str, memory: Memory) -> None:
    parts = [f"{report.added:,} added", f"{report.replaced:,} replaced", f"{report.unchanged:,} unchanged"]
    if report.duplicates:
        parts.append(f"{report.duplicates:,} given again, of which the last counts")
    rate = f"{report.documents / report.seconds:,.0f} documents/s" if report.seconds else ""
    output.write(
        f"{store}: {', '.join(parts)}; {report.passages:,} passages in {report.seconds:.1f} s ({rate}); "
        f"{memory.document_count:,} documents in all"
    )
    if not report.documents:
        output.warn("the input held no documents")
