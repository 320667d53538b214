"""``mbc memory index``: lists by which large memories find passages without comparing all."""

from __future__ import annotations

from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.options import DEFAULT_STORE, Json, Store


def index(
    store: Store = DEFAULT_STORE,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the lists instead.")] = False,
    json: Json = False,
) -> None:
    """Keep lists of the passages that hold each code, for --probes of query, search, chat, serve and mcp.

    They pay from some hundred thousand passages on, are brought up to date by every commit, and take about as
    many bytes as the codes. A copy or an export of the memory is without them.

    Examples:

      mbc memory index --store news.mbc

      mbc search "museum in Lindholm" --store news.mbc --probes 4

      mbc memory index --store news.mbc --remove
    """
    from mbc_store import MemoryStore

    opened = MemoryStore.open(store)
    with output.progress("removing the lists" if remove else "making the lists"):
        opened.keep_posting_lists(not remove)
    size = opened.info().array_bytes
    fields = {
        "lists": not remove,
        "list_bytes": size.get("postings", 0),
        "code_bytes": size["passages/codes"],
    }
    if json:
        output.write_json(fields)
    else:
        output.write_fields({name.replace("_", " "): value for name, value in fields.items()})
