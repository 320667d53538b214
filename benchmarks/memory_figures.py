"""Peak memory and processor time of ``mbc encode`` and ``mbc query``, against the size of the bank.

    python benchmarks/memory_figures.py                             # banks of 1,000 and 100,000
    python benchmarks/memory_figures.py --banks 1000 100000 1000000

The adapter encodes ``--originals`` invented news items; a bank holds their codes and texts over and over,
under new ids. Measured are one ``mbc query`` of one question and one ``mbc encode`` of 100 new documents,
from the start of each process to its end, as the operating system counts (ru_maxrss, user and system time).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

from mbc_cli.demo.news import NewsItem, generate_news
from store import DocumentRecord, MemoryStore

BATCH = 20_000
ADDED = 100
MBC = (sys.executable, "-m", "mbc_cli.app", "--quiet")


def measured(*command: str) -> tuple[float, float]:
    """Run a command; the most memory its process ever held, in MB, and its processor time in seconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), usage.ru_utime + usage.ru_stime


def write_corpus(path: Path, news: list[NewsItem]) -> str:
    documents = (item.document for item in news)
    path.write_text("\n".join(json.dumps({"id": one.id, "text": one.text}) for one in documents))
    return str(path)


def repeated(originals: list[DocumentRecord]) -> Iterator[DocumentRecord]:
    """The originals over and over, each time as new documents."""
    for number, record in enumerate(cycle(originals)):
        yield replace(record, id=f"document-{number:09d}", digest=number)


def build_bank(path: Path, originals: MemoryStore, size: int) -> str:
    with originals.snapshot() as snapshot:
        documents = islice(repeated(list(snapshot.iter_records())), size)
    store = MemoryStore.create(path, originals.config)
    while batch := list(islice(documents, BATCH)):
        with store.transaction("benchmark") as transaction:
            transaction.upsert(batch)
    store.gc(older_than=timedelta(0))
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--banks", type=int, nargs="+", default=[1000, 100_000], help="documents")
    parser.add_argument("--originals", type=int, default=2000, help="documents encoded to fill the banks")
    parser.add_argument("--adapter", default="default")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        news = list(generate_news(arguments.originals, seed=1))
        added = write_corpus(root / "added.jsonl", list(generate_news(ADDED, seed=2)))
        corpus, store = write_corpus(root / "originals.jsonl", news), str(root / "originals")
        subprocess.run([*MBC, "encode", corpus, "--store", store, "--adapter", arguments.adapter], check=True)
        question = news[0].questions[0].question
        print("   documents  encode, MB   encode, s   query, MB    query, s")
        for size in arguments.banks:
            bank = build_bank(root / "bank", MemoryStore.open(store), size)
            asking = measured(*MBC, "query", question, "--store", bank)
            adding = measured(*MBC, "encode", added, "--store", bank)
            row = "".join(f"  {peak:>10,.0f}  {seconds:>10.1f}" for peak, seconds in (adding, asking))
            print(f"{size:>12,}{row}", flush=True)
            shutil.rmtree(bank)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
