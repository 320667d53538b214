"""``mbc memory forget``: documents out of the memory, by id, time or metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mbc_cli.cli import output
from mbc_cli.cli.commands.memory_changes import write_result
from mbc_cli.cli.memory_options import DryRun, Since, Until, WhereOption, Yes, valid_ids
from mbc_cli.cli.options import DEFAULT_STORE, Delimiter, InputFormat, Json, Store
from mbc_cli.corpus.choices import Format
from mbc_cli.errors import ExitCode, InputError, UsageError

UNKNOWN_IDS_NAMED = 20


def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Documents.", show_default=False)
    ] = None,
    store: Store = DEFAULT_STORE,
    ids_from: Annotated[
        str | None, typer.Option("--ids-from", metavar="FILE", help="A file of ids, one a line; - is stdin.")
    ] = None,
    format: InputFormat = None,
    delimiter: Delimiter = None,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    ignore_missing: Annotated[
        bool, typer.Option("--ignore-missing", help="Ids that are not in the memory are no failure.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Forget documents by id, by time or by metadata: they are never read again.

    Ids that are not in the memory are named, the others are forgotten all the same, and the exit code is 1
    (0 with --ignore-missing). Earlier snapshots still hold what was forgotten until compact --purge deletes
    its codes and texts for good.

    Examples:

      mbc memory forget article-17 article-18 --store news.mbc

      mbc memory forget --where source=gazette --until 2020-01-01 --dry-run

      mbc memory forget --ids-from withdrawn.txt --ignore-missing --yes
    """
    from mbc_store import MemoryStore

    from mbc_cli.stored_documents import StoredDocuments

    named = None if ids is None else valid_ids(ids)
    if ids_from is not None:
        named = [*(named or []), *_read_ids(ids_from, format, delimiter)]
    stored = StoredDocuments(MemoryStore.open(store))
    found = stored.forget(named, since=since, until=until, where=where, dry_run=True)
    if found.missing and not ignore_missing:
        _name_missing(found.missing, store)
    forgotten = 0
    if found.ids and not dry_run:
        output.confirm(f"Forget {len(found.ids)} of {stored.document_count} documents?", yes=yes)
        forgotten = len(stored.forget(found.ids).ids)
    if dry_run and not json:
        for identifier in found.ids:
            output.write(identifier)
    else:
        fields: dict[str, Any] = {"forgotten": forgotten, "not_found": len(found.missing)}
        write_result(fields | ({"would_forget": found.ids} if dry_run else {}), json)
    if found.missing and not ignore_missing:
        raise typer.Exit(ExitCode.FAILED)


def _name_missing(missing: Sequence[str], store: str) -> None:
    for identifier in missing if output.is_verbose() else missing[:UNKNOWN_IDS_NAMED]:
        output.warn(f"{store} holds no document {identifier!r}")
    if len(missing) > UNKNOWN_IDS_NAMED and not output.is_verbose():
        output.warn(f"{len(missing):,} ids in all are not in the memory (--verbose names all of them)")


def _read_ids(source: str, format: Format | None, delimiter: str | None) -> list[str]:
    from mbc_cli.corpus.bad_input import BadInputs
    from mbc_cli.corpus.readers import read_ids

    try:
        return list(read_ids(source, BadInputs(on_error="fail"), format=format, delimiter=delimiter))
    except InputError as failure:
        raise UsageError(failure.message) from None
