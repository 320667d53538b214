"""``mbc memory``: look into a memory, change it, and look after its store."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbc_cli.cli import output
from mbc_cli.cli.commands import memory_changes, memory_forget, memory_index, memory_prune, memory_repair
from mbc_cli.cli.completion import tags
from mbc_cli.cli.memory_options import At, Since, Until, WhereOption, valid_ids
from mbc_cli.cli.options import DEFAULT_STORE, Adapter, Json, Store, count
from mbc_cli.cli.problem_report import problem_lines
from mbc_cli.errors import AdapterError, ExitCode

if TYPE_CHECKING:
    from mbc_store import DocumentRecord, MemoryStore, StoredDocument

    from mbc_cli.inference.telegrams import Piece

app = typer.Typer(help="Look into a memory, change it, and look after its store.", no_args_is_help=True)


@app.command()
def info(store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> None:
    """Show what a memory holds and what it weighs.

    Examples:

      mbc memory info --store news.mbc

      mbc memory info --at 2026-05-01 --json
    """
    from mbc_store import MemoryStore

    found = MemoryStore.open(store, at=at).info()
    documents = max(found.documents, 1)
    passage_bits = found.slots * found.num_quantizers * (found.codebook_size - 1).bit_length()
    fields: dict[str, Any] = {
        "store": found.location,
        "snapshot": found.snapshot,
        "documents": found.documents,
        "passages": found.passages,
        "forgotten passages not yet compacted": found.dead_passages,
        "code bytes": found.code_bytes,
        "code bytes per document": found.code_bytes / documents,
        "bytes": found.current_bytes,
        "bytes per document": found.current_bytes / documents,
        "bytes with history": found.disk_bytes,
        "same vectors in float32": found.float32_bytes,
        "float32 to codes": _ratio(found.float32_bytes, found.code_bytes),
        "float32 to everything": _ratio(found.float32_bytes, found.current_bytes),
        "context vectors per passage": found.slots,
        "quantizers": found.num_quantizers,
        "codebook size": found.codebook_size,
        "codes in use": f"{found.codes_used:.1%}",
        "entropy of the codes (bits per passage)": found.code_entropy_bits,
        "plain codes (bits per passage)": passage_bits,
        "texts kept": found.keep_text,
        "adapter": found.adapter,
        "fingerprint": found.fingerprint,
        "base model": found.base_model,
        "commits": found.commits,
        "tags": ", ".join(found.tags) or None,
    }
    if json:
        output.write_json(
            {name.split(" (")[0].replace(" ", "_"): value for name, value in fields.items()}
            | {"codes_in_use": found.codes_used, "tags": found.tags, "array_bytes": found.array_bytes}
        )
        return
    output.write_fields(fields)
    rows = [[name, size, size / documents] for name, size in found.array_bytes.items()]
    output.write_table(["array", "bytes", "per document"], rows)


def _ratio(large: int | None, small: int) -> float | None:
    return None if large is None or not small else large / small


@app.command("list")
def list_documents(
    store: Store = DEFAULT_STORE,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    limit: Annotated[int | None, count("--limit", "At most so many.")] = None,
    offset: Annotated[int, count("--offset", "Leave out so many first.", least=0)] = 0,
    at: At = None,
    json: Json = False,
) -> None:
    """List documents, oldest first; with --json one JSON object a line.

    Examples:

      mbc memory list --where source=gazette --limit 20

      mbc memory list --since 2026-05-01 --json | jq -r .id
    """
    from mbc_store import MemoryStore

    from mbc_cli.stored_documents import StoredDocuments

    stored = StoredDocuments(MemoryStore.open(store, at=at))
    found = stored.documents(since=since, until=until, where=where)
    chosen = islice(found, offset, None if limit is None else offset + limit)
    if json:
        for document in chosen:
            output.write_json(_summary(document))
    else:
        columns = ["id", "title", "time", "passages", "metadata"]
        output.write_table(columns, [list(_summary(document).values()) for document in chosen])


def _summary(document: StoredDocument) -> dict[str, Any]:
    return {
        "id": document.id,
        "title": document.title,
        "time": _time(document.timestamp),
        "passages": document.passage_count,
        "metadata": dict(document.metadata) or None,
    }


def _time(timestamp: int | None) -> str | None:
    from mbc_cli.corpus.times import format_timestamp

    return None if timestamp is None else format_timestamp(timestamp)


@app.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The document.", show_default=False)],
    store: Store = DEFAULT_STORE,
    codes: Annotated[bool, typer.Option("--codes", help="Show the codes as well.")] = False,
    adapter: Adapter = None,
    at: At = None,
    json: Json = False,
) -> None:
    """Show one document: its text where it was kept, its passages, and its codes if asked for.

    Where codes are tokens, what they hold is shown in words: what was lost of the text is dimmed, or stands
    in square brackets where there is no colour.

    Examples:

      mbc memory show article-17 --store news.mbc

      mbc memory show article-17 --codes --json
    """
    from mbc_store import MemoryStore

    opened = MemoryStore.open(store, at=at)
    with opened.snapshot() as snapshot:
        record = snapshot.record(*valid_ids([identifier]))
    telegrams = _telegrams(opened, record, adapter)
    fields: dict[str, Any] = {
        "id": record.id,
        "title": record.title,
        "time": _time(record.timestamp),
        "metadata": dict(record.metadata) or None,
        "digest": f"{record.digest:016x}",
        "passages": len(record.codes),
        "spans": record.spans.tolist(),
        "text": record.text,
    }
    if codes:
        fields["codes"] = record.codes.tolist()
    if json:
        from mbc_cli.inference.telegrams import bracketed

        shown = [{"telegram": bracketed(pieces), "pieces": pieces} for pieces in telegrams]
        output.write_json(fields | ({"telegrams": shown} if telegrams else {}))
        return
    output.write_fields(fields, texts=("text",))
    for pieces in telegrams:
        output.write_pieces(pieces)


def _telegrams(store: MemoryStore, record: DocumentRecord, adapter: str | None) -> list[tuple[Piece, ...]]:
    """What the codes of each passage hold in words, where they are tokens and their adapter is at hand."""
    from mbc_cli.inference.telegrams import TelegramWords

    try:
        words = TelegramWords.of_store(store, adapter)
    except AdapterError as failure:
        output.warn(f"what the codes hold cannot be shown in words: {failure}")
        return []
    if words is None:
        return []
    texts = [None if record.text is None else record.text[start:end] for start, end in record.spans.tolist()]
    passages = record.codes[..., 0].tolist()
    return [words.pieces(codes, text) for codes, text in zip(passages, texts, strict=True)]


@app.command()
def history(
    store: Store = DEFAULT_STORE,
    limit: Annotated[int | None, count("--limit", "At most so many commits.")] = None,
    json: Json = False,
) -> None:
    """List commits, newest first, with what they changed and how well the codebooks fitted.

    The error is the mean quantisation error of a commit's documents; the drift, how many times that of the
    documents the adapter was trained on. Far above 1 the documents are of another kind: train another adapter
    on them, and encode the memory anew with it (mbc memory reencode).

    Examples:

      mbc memory history --store news.mbc

      mbc memory history --limit 5 --json
    """
    from mbc_store import MemoryStore

    opened = MemoryStore.open(store)
    commits = opened.history()[:limit]
    if json:
        for commit in commits:
            output.write_json(asdict(commit) | {"drift": commit.drift(opened.config)})
        return
    rows = [
        [
            commit.id,
            f"{commit.time:%Y-%m-%d %H:%M:%S}",
            commit.operation,
            commit.counts.added,
            commit.counts.replaced,
            commit.counts.forgotten,
            commit.documents,
            commit.quantization_error,
            commit.drift(opened.config),
            ", ".join(commit.tags) or None,
        ]
        for commit in commits
    ]
    columns = ["snapshot", "time (UTC)", "operation", "added", "replaced", "forgotten", "documents", "error"]
    output.write_table([*columns, "drift", "tags"], rows)


@app.command()
def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="A", help="A time, tag or snapshot.", show_default=False, autocompletion=tags),
    ],
    after: Annotated[
        str | None,
        typer.Argument(
            metavar="B", help="Another; by default the newest.", show_default=False, autocompletion=tags
        ),
    ] = None,
    store: Store = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """List the documents that were added (+), removed (-) and changed (~) between two snapshots.

    Examples:

      mbc memory diff 2026-05-01 --store news.mbc

      mbc memory diff v1 v2 --json
    """
    from mbc_store import MemoryStore

    found = MemoryStore.open(store).diff(before, after)
    if json:
        output.write_json(found)
        return
    for sign, ids in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for identifier in ids:
            output.write(f"{sign} {identifier}")


@app.command()
def verify(store: Store = DEFAULT_STORE, at: At = None, json: Json = False) -> None:
    """Read everything and check it: chunks, counts, ids, index. Exits with 1 if anything is wrong.

    Examples:

      mbc memory verify --store news.mbc

      mbc memory verify --json
    """
    from mbc_store import MemoryStore, StoreCorrupt

    problems = MemoryStore.open(store, at=at).verify()
    if json:
        output.write_json({"sound": not problems, "problems": problems})
    else:
        for line in problem_lines(problems):
            output.write(line)
        if not problems:
            output.write("sound")
    if problems:
        if not json:
            raise StoreCorrupt(f"{store} has {len(problems)} problems", "run `mbc memory repair`")
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.", show_default=False)],
    store: Store = DEFAULT_STORE,
    at: At = None,
    json: Json = False,
) -> None:
    """Write a memory as documents.jsonl and codes.parquet, which other programs can read.

    Examples:

      mbc memory export news-export --store news.mbc

      mbc memory export may-export --at 2026-05-01
    """
    from mbc_store import MemoryStore

    count = MemoryStore.open(store, at=at).export_to(folder)
    if json:
        output.write_json({"documents": count, "folder": folder})
    else:
        output.write(f"{count} documents written to {folder}")


for _change in (
    memory_forget.forget,
    *memory_changes.COMMANDS,
    memory_index.index,
    memory_prune.prune,
    memory_repair.repair,
):
    app.command(_change.__name__.strip("_"))(_change)
