"""``mbc memory prune``: a history that is thinned out instead of cut off."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from mbc_cli.cli import output
from mbc_cli.cli.commands.memory_changes import write_result
from mbc_cli.cli.memory_options import DryRun, Yes
from mbc_cli.cli.options import DEFAULT_STORE, Json, Store, count
from mbc_cli.errors import UsageError


def prune(
    store: Store = DEFAULT_STORE,
    keep_last: Annotated[int, count("--keep-last", "Keep the last N commits.", least=0)] = 0,
    keep_daily: Annotated[
        int, count("--keep-daily", "Keep the newest commit of each of the last N days.", least=0)
    ] = 0,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let commits go by number and by day, and delete what nothing needs any more.

    The documents stay as they are; what goes is the memory as it was at a commit. The newest commit and
    tagged ones stay. Days are those (UTC) on which something was committed. Memories that are being read, by
    this or other processes on this machine, are not disturbed.

    On object storage only commits that are older than all that stay can go.

    Examples:

      mbc memory prune --keep-last 10 --keep-daily 30 --store news.mbc

      mbc memory prune --keep-last 1 --dry-run --json
    """
    from mbc_store import MemoryStore

    if not keep_last + keep_daily:
        raise UsageError("nothing says what is kept", "give --keep-last N, --keep-daily N or both")
    opened = MemoryStore.open(store)
    going = opened.pruned(keep_last=keep_last, keep_daily=keep_daily)
    if dry_run:
        write_result({"commits_expiring": len(going), "snapshots": [commit.id for commit in going]}, json)
        return
    if going:
        output.confirm(f"Let {len(going)} commits go?", yes=yes)
    write_result(asdict(opened.prune(keep_last=keep_last, keep_daily=keep_daily)), json)
