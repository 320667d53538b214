"""Peak memory of ``mbc encode`` on input files of up to 64 MB that are made to take much.

    python benchmarks/input_memory.py                      # all of them, about an hour on one busy core
    python benchmarks/input_memory.py one-line parquet-cell

Every file is read by a process of its own with the adapter news. Its peak is what the operating system
counts (ru_maxrss); 1,500 MB are allowed. Records over 16 MiB, or of very many values, are refused by name, so
exit code 3 is right for some.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from multiprocessing import get_context
from pathlib import Path
from typing import TextIO

from memory_figures import MBC, run

from mbc_cli.corpus.streams import MAX_RECORD_BYTES
from mbc_cli.news.generator import generate_news

FILE_BYTES = 60 * 10**6
RECORD_BYTES = MAX_RECORD_BYTES - 2**10  # the longest that is accepted, with some room for the other fields
ALLOWED_MEGABYTES = 1500


def news_text(size: int) -> str:
    """``size`` characters of invented news, all of one byte and none to be escaped."""
    text = " ".join(item.document.text for item in generate_news(4000, seed=1)).replace('"', "'")
    return (text * (size // len(text) + 1))[:size]


def write_records(file: TextIO, records: Iterator[dict[str, object]]) -> None:
    """Write as many records as the file may hold."""
    for record in records:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
        if file.tell() + len(line) > FILE_BYTES:
            return
        file.write(line)


def one_line(file: TextIO) -> None:
    file.write(json.dumps({"id": "line", "text": news_text(FILE_BYTES)}))


def csv_field(file: TextIO) -> None:
    file.write(f'id,text\nfield,"{news_text(FILE_BYTES)}"\n')


def text_file(file: TextIO) -> None:
    file.write(news_text(FILE_BYTES))


def short_documents(file: TextIO) -> None:
    news = cycle(item.document.text for item in generate_news(4000, seed=1))
    write_records(file, ({"id": str(number), "text": text} for number, text in zip(count(), news)))


def long_documents(file: TextIO) -> None:
    text = news_text(RECORD_BYTES)
    write_records(file, ({"id": str(number), "text": text} for number in count()))


def long_words(file: TextIO) -> None:
    write_records(file, ({"id": str(number), "text": "mw" * (RECORD_BYTES // 2)} for number in count()))


def wide_characters(file: TextIO) -> None:
    """One character of four bytes makes Python keep four for each."""
    text = "\N{SLIGHTLY SMILING FACE}" + news_text(RECORD_BYTES - 4)
    write_records(file, ({"id": str(number), "text": text} for number in count()))


def metadata(file: TextIO) -> None:
    """Empty lists, each of which is 60 times larger in Python than in JSON."""
    lists: list[object] = [[] for _ in range(RECORD_BYTES // 3)]
    write_records(file, ({"id": str(n), "text": "It rained.", "lists": lists} for n in count()))


def parquet_cell(file: TextIO) -> None:
    """A text of 700 MB in a few kilobytes."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"id": ["cell"], "text": ["It rained. " * 2**26]})
    parquet.write_table(table, file.buffer, compression="zstd")


CASES: dict[str, tuple[str, Callable[[TextIO], None]]] = {
    "one-line": ("jsonl", one_line),
    "csv-field": ("csv", csv_field),
    "text-file": ("txt", text_file),
    "parquet-cell": ("parquet", parquet_cell),
    "metadata": ("jsonl", metadata),
    "long-words": ("jsonl", long_words),
    "long-documents": ("jsonl", long_documents),
    "wide-characters": ("jsonl", wide_characters),
    "short-documents": ("jsonl", short_documents),
}


def write_case(name: str, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        CASES[name][1](file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    chosen = parser.parse_args().cases or list(CASES)
    print("| file | MB | exit code | peak MB | s |\n| --- | --- | --- | --- | --- |")
    highest = 0.0
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="mbc-input-memory-") as directory:
            path = Path(directory, f"input.{CASES[name][0]}")
            # In a process of its own: what a parent held when it started a child counts as the child's.
            writer = get_context("spawn").Process(target=write_case, args=(name, path))
            writer.start()
            writer.join()
            start = time.monotonic()
            code, peak = run(
                *MBC, "encode", str(path), "--store", f"{directory}/store.mbc", "--adapter", "news"
            )
            seconds = time.monotonic() - start
            size = path.stat().st_size / 10**6
        print(f"| {name} | {size:.1f} | {code} | {peak:.0f} | {seconds:.0f} |", flush=True)
        highest = max(highest, peak)
    if highest > ALLOWED_MEGABYTES:
        sys.exit(f"{highest:.0f} MB are more than {ALLOWED_MEGABYTES}")


if __name__ == "__main__":
    main()
