"""The ``mbc memory`` commands that change a store. Those that take something away ask first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbc_cli.cli import output
from mbc_cli.cli.completion import adapters, stores, tags
from mbc_cli.cli.memory_options import (
    At,
    DryRun,
    Yes,
    age,
)
from mbc_cli.cli.options import DEFAULT_STORE, BatchSize, Device, Json, Store
from mbc_cli.errors import ExitCode

if TYPE_CHECKING:
    from mbc_cli.inference.encode import EncodeReport


def write_result(fields: dict[str, Any], json: bool, texts: Collection[str] = ()) -> None:
    """Write what a command did; the values of ``texts`` keep their lines."""
    if json:
        output.write_json(fields)
    else:
        output.write_fields({name.replace("_", " "): value for name, value in fields.items()}, texts=texts)


def tag(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The tag.", show_default=False, autocompletion=tags)
    ],
    store: Store = DEFAULT_STORE,
    at: At = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the tag instead.")] = False,
    json: Json = False,
) -> None:
    """Give a snapshot a name, which also keeps it from being collected.

    Examples:

      mbc memory tag before-cleanup --store news.mbc

      mbc memory tag may --at 2026-05-31
    """
    from mbc_store import MemoryStore

    opened = MemoryStore.open(store)
    if delete:
        opened.delete_tag(name)
        write_result({"deleted": name}, json)
    else:
        write_result({"tag": name, "snapshot": opened.tag(name, at)}, json)


def rollback(
    to: Annotated[
        str,
        typer.Argument(
            metavar="TIME|TAG|SNAPSHOT", help="Where to go back to.", show_default=False, autocompletion=tags
        ),
    ],
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make an earlier snapshot the newest again. What came after it stays under a tag.

    Examples:

      mbc memory rollback before-cleanup --store news.mbc

      mbc memory rollback 2026-05-01 --dry-run
    """
    from mbc_store import MemoryStore

    opened = MemoryStore.open(store)
    change = opened.diff(to)
    plan: dict[str, Any] = {"documents_undone": len(change.added), "documents_returning": len(change.removed)}
    plan |= {"documents_changing_back": len(change.changed), "snapshot": change.before}
    if dry_run:
        write_result(plan, json)
        return
    if change.before != change.after:
        gone, back = len(change.added), len(change.removed) + len(change.changed)
        output.confirm(f"Roll back to {to}: {gone} documents go, {back} return?", yes=yes)
    write_result(plan | asdict(opened.rollback(change.before)), json)


def compact(
    store: Store = DEFAULT_STORE,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete all history and tags too, and forgotten data for good.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Rewrite a memory without the passages of forgotten and replaced documents.

    Examples:

      mbc memory compact --store news.mbc

      mbc memory compact --purge --yes
    """
    from mbc_store import MemoryStore

    opened = MemoryStore.open(store)
    found = opened.info()
    plan: dict[str, Any] = {"forgotten_passages": found.dead_passages}
    if purge:
        plan |= {"commits_deleted": found.commits, "tags_deleted": list(found.tags)}
    if dry_run:
        write_result(plan, json)
        return
    if purge:
        tags = f" and {len(found.tags)} tags" if found.tags else ""
        output.confirm(
            f"Delete {found.commits} commits of history{tags} and everything forgotten for good?", yes=yes
        )
    done = opened.compact(purge=purge)
    fields = {"rows_removed": done.rows_removed, "purged": done.purged}
    write_result(fields | (asdict(done.collected) if done.collected else {}), json)


def gc(
    store: Store = DEFAULT_STORE,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="History to let go: 30d, 12h, 0s...")
    ] = "30d",
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let old commits go and delete what nothing needs any more. The newest and tagged ones stay.

    Memories that are being read, by this or other processes on this machine, are not disturbed.

    Examples:

      mbc memory gc --store news.mbc

      mbc memory gc --older-than 0s --yes
    """
    from datetime import UTC, datetime

    from mbc_store import MemoryStore

    opened = MemoryStore.open(store)
    keep = age("--older-than", older_than)
    cutoff = datetime.now(UTC) - keep
    expiring = sum(commit.time < cutoff and not commit.tags for commit in opened.history()[1:])
    if dry_run:
        write_result({"commits_expiring": expiring}, json)
        return
    if expiring:
        output.confirm(f"Let {expiring} commits go?", yes=yes)
    write_result(asdict(opened.gc(older_than=keep)), json)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What export wrote.", show_default=False)],
    store: Store = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Add the documents of an exported memory; makes the store if there is none.

    Examples:

      mbc memory import news-export --store news.mbc

      mbc memory import news-export --store s3://bucket/news
    """
    from mbc_store import MemoryStore

    write_result(asdict(MemoryStore.import_at(store, folder)), json)


def copy(
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DESTINATION", help="A new folder, s3://BUCKET/PREFIX or gs://...", show_default=False
        ),
    ],
    store: Store = DEFAULT_STORE,
    at: At = None,
    json: Json = False,
) -> None:
    """Copy a memory, without its history, to a folder or object storage, or from there.

    Credentials come from the environment (AWS_*, GOOGLE_*).

    Examples:

      mbc memory copy s3://bucket/news --store news.mbc

      mbc memory copy news.mbc --store s3://bucket/news
    """
    from mbc_store import MemoryStore

    copied = MemoryStore.open(store, at=at).copy_to(destination)
    with copied.snapshot() as snapshot:
        write_result({"documents": snapshot.document_count, "destination": destination}, json)


def merge(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="Another memory.", show_default=False, autocompletion=stores),
    ],
    store: Store = DEFAULT_STORE,
    json: Json = False,
) -> None:
    """Add another memory's documents, encoded with the same adapter; of equal ids the newest stays.

    Examples:

      mbc memory merge yesterday.mbc --store news.mbc

      mbc memory merge s3://archive/2025.mbc --store news.mbc --json
    """
    from mbc_store import MemoryStore

    write_result(asdict(MemoryStore.open(store).merge(MemoryStore.open(source))), json)


def reencode(
    destination: Annotated[
        str, typer.Argument(metavar="DESTINATION", help="The new memory.", show_default=False)
    ],
    adapter: Annotated[
        str,
        typer.Option(
            "--adapter",
            "-a",
            metavar="ADAPTER",
            help="A folder, a hub id or 'default'.",
            show_default=False,
            autocompletion=adapters,
        ),
    ],
    store: Store = DEFAULT_STORE,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Encode a memory's kept texts with another adapter into a new memory; the old one stays as it is.

    Where no texts were kept but codes are tokens, what the codes hold in words is encoded, also for an LLM
    with another tokenizer. An interrupted run is simply run again: it goes on where it stopped. Documents
    whose text is lost (after a repair) are named and left out, and the exit code is 3.

    Examples:

      mbc memory reencode news-2.mbc --store news.mbc --adapter ./better-adapter

      mbc memory reencode news-2.mbc --store news.mbc --adapter ./better-adapter --device cuda --json
    """
    from mbc_store import MemoryStore

    with output.progress("loading PyTorch"):
        from mbc_cli.memory import Memory

    opened = MemoryStore.open(store)
    with opened.snapshot() as snapshot:
        total = snapshot.document_count
    with output.progress("encoding", total=total) as advance:
        shown = 0

        def on_progress(report: EncodeReport) -> None:
            nonlocal shown
            advance(report.documents - shown)
            shown = report.documents

        done = Memory.reencode(
            opened, destination, adapter, batch_size=batch_size, on_progress=on_progress, device=device
        )
    if done.from_telegrams:
        output.warn(f"{store} keeps no texts: what its codes hold in words was encoded, not the documents")
    for identifier in done.without_text:
        output.warn(f"document {identifier!r} has no text left")
    report = done.encoded
    counts = {"added": report.added, "replaced": report.replaced, "unchanged": report.unchanged}
    write_result(counts | {"without_text": len(done.without_text)}, json)
    if done.without_text:
        raise typer.Exit(ExitCode.SKIPPED_INPUT)


COMMANDS = (tag, rollback, compact, gc, import_, copy, merge, reencode)
