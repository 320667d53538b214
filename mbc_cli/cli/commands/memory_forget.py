"""``mbc memory forget``: documents out of the memory, by id, time or metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mbc_cli.batching import batched
from mbc_cli.cli import output
from mbc_cli.cli.commands.memory_changes import tell
from mbc_cli.cli.memory_options import DryRun, Since, Until, WhereOption, Yes, conditions, moment
from mbc_cli.cli.options import DEFAULT_STORE, Json, Store
from mbc_cli.errors import ExitCode, UsageError

FORGET_AT_ONCE = 10_000
UNKNOWN_IDS_NAMED = 20


def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Documents.", show_default=False)
    ] = None,
    store: Store = DEFAULT_STORE,
    ids_from: Annotated[
        str | None, typer.Option("--ids-from", metavar="FILE", help="A file of ids, one a line; - is stdin.")
    ] = None,
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

    first, last, wanted = moment("--since", since), moment("--until", until), conditions(where)
    filtered = first is not None or last is not None or bool(wanted)
    named = list(dict.fromkeys((ids or []) + (_read_ids(ids_from) if ids_from is not None else [])))
    if (bool(named) or ids_from is not None) == filtered:
        problem = "both ids and conditions are given" if filtered else "nothing says what to forget"
        raise UsageError(problem, "give ids or --ids-from, or else --since, --until and --where")
    opened = MemoryStore.open(store)
    with opened.snapshot() as snapshot:
        found = snapshot.matching_ids(first, last, wanted) if filtered else snapshot.find(named)
        total = snapshot.document_count
    chosen = list(found)
    missing = [] if filtered else [identifier for identifier in named if identifier not in found]
    if missing and not ignore_missing:
        _name_missing(missing, store)
    if chosen and not dry_run:
        output.confirm(f"Forget {len(chosen)} of {total} documents?", yes=yes)
    forgotten = 0
    if not dry_run:
        for some in batched(chosen, FORGET_AT_ONCE):
            with opened.transaction("forget", "forget") as transaction:
                transaction.forget(some)
            forgotten += transaction.counts.forgotten
    if dry_run and not json:
        for identifier in chosen:
            output.write(identifier)
    else:
        fields: dict[str, Any] = {"forgotten": forgotten, "not_found": len(missing)}
        tell(fields | ({"would_forget": chosen} if dry_run else {}), json)
    if missing and not ignore_missing:
        raise typer.Exit(ExitCode.FAILED)


def _name_missing(missing: list[str], store: str) -> None:
    for identifier in missing if output.is_verbose() else missing[:UNKNOWN_IDS_NAMED]:
        output.warn(f"{store} holds no document {identifier!r}")
    if len(missing) > UNKNOWN_IDS_NAMED and not output.is_verbose():
        output.warn(f"{len(missing):,} ids in all are not in the memory (--verbose names all of them)")


def _read_ids(source: str) -> list[str]:
    from mbc_cli.corpus.bad_input import BadRecord
    from mbc_cli.corpus.streams import STDIN, BrokenStream, Lines, decode, open_stream

    if source != STDIN and not Path(source).exists():
        raise UsageError(f"there is no file {source}")
    with open_stream(source) as stream:
        lines = Lines(stream)
        try:
            return [text for line in lines if (text := decode(line))]
        except (BadRecord, BrokenStream) as reason:
            place = "stdin" if source == STDIN else source
            raise UsageError(f"{place}:{lines.number}: {reason}") from None
