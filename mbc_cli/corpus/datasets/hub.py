"""Data sets from the Hugging Face hub, where it can be reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mbc_cli import reporting


class NotReached(Exception):
    """The hub, or the package that reads from it, is not there; the message says which and why."""


def hub_rows(repository: str, configuration: str | None, split: str) -> Iterator[Mapping[str, Any]]:
    """The rows of a data set on the hub, by the library ``datasets``.

    Raises:
        NotReached: the library is not installed, or the hub does not give them.
    """
    try:
        import datasets
    except ImportError:
        raise NotReached("the package datasets is not installed") from None
    try:
        rows = datasets.load_dataset(repository, configuration, split=split)
    except Exception as failure:  # the hub, the network and the package raise a dozen unrelated types
        raise NotReached(" ".join(str(failure).split())[:200]) from None
    reporting.note(f"reading {repository}, split {split}, from the hub")
    yield from rows


def hub_file(repository: str, name: str) -> str:
    """The path of a file of a data set's repository, fetched into the hub's cache.

    Raises:
        NotReached: the hub does not give it.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(repository, name, repo_type="dataset")
    except Exception as failure:  # as above
        raise NotReached(" ".join(str(failure).split())[:200]) from None
    reporting.note(f"reading {name} of {repository} from the hub")
    return path
