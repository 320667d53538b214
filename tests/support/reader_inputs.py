"""Seeded inputs for every reader, with the records that must come out whatever was spoilt beside them."""

from __future__ import annotations

import csv
import io
import json
import random
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets import load_dataset
from mbc_cli.corpus.readers import read_documents, read_ids, read_questions
from mbc_cli.errors import MbcError
from mbc_cli.yaml_settings import read_yaml

ODD: list[Any] = [
    None, True, 7, -1.5, 1e300, float("nan"), 10**30, "", "  ", "\ufeff", "\x00", "\ud800",
    20_260_501, "é\u2028ü\x85", [], ["x"],
    {}, {"text": None}, {"text": ["x", 3]}, "9" * 400, "2026-05", "soon", [[[]]], "a\nb", "<", '"',
]  # fmt: skip
ZONES = (None, "UTC", "Asia/Tokyo", "No/Zone")
ENCODINGS = ["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]
SECONDS = [pa.duration("s"), *(pa.timestamp("s", zone) for zone in ZONES)]
FAR = [2**63 - 1, -(2**63 - 1), 253_402_300_800, 0, None]
ARROW = [
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ZONES),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    pa.time64("us"), pa.time64("ns"), pa.date64(), pa.int64(), pa.float64(), pa.string(),
]  # fmt: skip


# The ids that must be read, and what reads the input: the ids it finds.
Expected = tuple[list[str], Callable[[], list[str]]]


@dataclass
class Findings:
    """What a run met: inputs by kind, records read and left out, and everything that must not be."""

    inputs: Counter[str] = field(default_factory=Counter)
    read: int = 0
    left_out: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        internal = sum("internal" in problem for problem in self.problems)
        return {
            "inputs": sum(self.inputs.values()),
            "by_kind": dict(self.inputs),
            "records_read": self.read,
            "pieces_left_out": self.left_out,
            "inputs_refused_in_words": self.refused,
            "internal_errors": internal,
            "inputs_with_lost_records": len(self.problems) - internal,
        }


def fuzz(folder: Path, count: int, seed: int) -> Findings:
    """Read ``count`` inputs, the same for the same seed."""
    found = Findings()
    kinds = list(KINDS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        chosen = random.Random(f"{seed} {number}")
        found.inputs[kind] += 1
        bad = BadInputs()
        must, read = KINDS[kind](chosen, folder, bad)
        got: list[str] = []
        try:
            got = read()
        except MbcError as failure:
            found.refused += 1
            if must:
                found.problems.append(f"input {number} ({kind}) lost all: {failure}")
        except Exception:
            found.problems.append(f"input {number} ({kind}), internal: {traceback.format_exc(limit=-3)}")
        else:
            found.read += len(got)
            if lost := set(must) - set(got):
                found.problems.append(f"input {number} ({kind}) lost {sorted(lost)[:3]}: {bad.examples[:2]}")
        found.left_out += bad.count
    return found


def _records(chosen: random.Random) -> tuple[list[dict[str, Any]], list[str]]:
    """Records, and the ids of the good ones: odd values stand where they cost nothing, or in bad ones."""
    records, good = [], []
    for number in range(chosen.randint(0, 6)):
        record: dict[str, Any] = {"id": f"id-{number}", "text": f"Text {number}, é."}
        if chosen.random() < 0.5:
            record |= {"k": chosen.choice(ODD), "metadata": chosen.choice(ODD)}
        if "\\ud8" in json.dumps(record) or chosen.random() < 0.3:
            record[chosen.choice(["id", "text", "title", "timestamp"])] = chosen.choice(ODD)
        else:
            good.append(record["id"])
        records.append(record)
    return records, good


def _write(chosen: random.Random, path: Path, text: str, spoil: bool = True) -> bool:
    """Write text in some encoding with some line ends; whether it is whole, not cut short or overwritten."""
    text = text.replace("\n", chosen.choice(["\n", "\n", "\r\n", "\r"]))
    content = text.encode(chosen.choice(ENCODINGS), "surrogatepass")
    whole = not spoil or chosen.random() < 0.7
    if not whole and content:
        place = chosen.randrange(len(content))
        content = content[:place] + chosen.choice([b"", b"\xff", b"\0\n", content[place + 2 :]])
    path.write_bytes(content)
    return whole


def _jsonl(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    records, good = _records(chosen)
    lines = [json.dumps(record) for record in records]
    for _ in range(chosen.randint(0, 2)):
        lines.insert(
            chosen.randint(0, len(lines)), chosen.choice(["{", '{"id": "x"', "[1]", "", "x", "9" * 5000])
        )
    return _documents(chosen, folder / "d.jsonl", "\n".join(lines), good, bad)


def _array(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    records, good = _records(chosen)
    text = json.dumps([*records, *chosen.sample(ODD, 2)], indent=chosen.choice([None, 1]))
    return _documents(chosen, folder / "d.json", text, good, bad)


def _csv(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    records, good = _records(chosen)
    good = [record["id"] for record in records if record["id"] in good and "k" not in record]
    text = io.StringIO()
    delimiter = chosen.choice(",;|\t")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    unnamed = [""] * chosen.randint(0, 2)
    writer.writerow(["id", "text", "k", *unnamed])
    for record in records:
        writer.writerow([record["id"], record["text"], record.get("k", ""), *unnamed])
    return _documents(chosen, folder / "d.csv", text.getvalue(), good, bad)


def _documents(chosen: random.Random, path: Path, text: str, good: list[str], bad: BadInputs) -> Expected:
    whole = _write(chosen, path, text)
    return good if whole else [], lambda: [document.id for document in read_documents([str(path)], bad)]


def _parquet(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    columns: dict[str, Any] = {"id": [f"id-{n}" for n in range(len(FAR))], "text": ["Text."] * len(FAR)}
    for number in range(chosen.randint(1, 4)):
        kind = chosen.choice(ARROW)
        values = chosen.choices(FAR, k=len(FAR))
        if kind in SECONDS:  # which Parquet holds as milliseconds
            values = [None if value is None else value // 1001 for value in values]
        array = pa.array(values, pa.int64()).cast(kind, safe=False)
        shape = chosen.choice(["flat", "list", "struct", "dictionary"])
        if shape == "list":
            array = pa.ListArray.from_arrays(pa.array(range(len(FAR) + 1), pa.int32()), array)
        elif shape == "struct":
            array = pa.StructArray.from_arrays([array], ["inner"])
        elif shape == "dictionary" and kind == pa.string():
            array = array.dictionary_encode()
        columns[f"column {number}"] = array
    parquet.write_table(pa.table(columns), folder / "d.parquet")
    whole = chosen.random() < 0.8
    if not whole:
        content = bytearray((folder / "d.parquet").read_bytes())
        content[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
        (folder / "d.parquet").write_bytes(content)
    path = str(folder / "d.parquet")
    return columns["id"] if whole else [], lambda: [item.id for item in read_documents([path], bad)]


def _squad(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    good: list[str] = []
    articles: list[Any] = []
    for number in range(chosen.randint(1, 3)):
        questions: list[Any] = []
        for count in range(chosen.randint(1, 3)):
            question: dict[str, Any] = {"id": f"q{number}-{count}", "question": "Who?"}
            question["answers"] = chosen.choice(
                [[{"text": "x"}], {"text": ["x"]}, [{"text": 3}, {"text": None}]]
            )
            if chosen.random() < 0.4:
                question[chosen.choice(["id", "question", "answers"])] = chosen.choice(ODD)
            else:
                good.append(question["id"])
            questions.append(question)
        questions.insert(chosen.randint(0, len(questions)), chosen.choice(ODD))
        title = chosen.choice(["T", *ODD])
        articles.append(
            {"title": title, "paragraphs": [{"context": f"C{number}.", "qas": questions}, chosen.choice(ODD)]}
        )
        articles.append(chosen.choice(ODD))
    whole = _write(chosen, folder / "squad.json", json.dumps({"data": articles}))
    return good if whole else [], lambda: _dataset("squad", folder / "squad.json", bad)


def _dataset(name: str, path: Path, bad: BadInputs) -> list[str]:
    return [question.id for question in load_dataset(name, documents=path, bad=bad).questions]


def _published(name: str, header: str, row: str) -> Callable[..., Expected]:
    def read(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
        rows, good = [], []
        for number in range(chosen.randint(1, 5)):
            spoilt = chosen.random() < 0.3
            rows.append(chosen.choice(['"', ",", "x,y", "\x00,,,,,,"]) if spoilt else row.format(number))
            if not spoilt and not any('"' in earlier for earlier in rows):  # a quote takes in what follows
                good.append(f"q{number}")
        whole = _write(chosen, folder / f"{name}.csv", "\n".join([header, *rows]) + "\n")
        return good if whole else [], lambda: _dataset(name, folder / f"{name}.csv", bad)

    return read


def _ids(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    ids = [
        chosen.choice(["a", "b\u2028c", "é\x85", "{x}", "ß", "1"]) + str(n)
        for n in range(chosen.randint(0, 5))
    ]
    ids = [f"id {identifier}" for identifier in ids]
    whole = _write(chosen, folder / "ids.txt", "\n".join(ids))
    return ids if whole else [], lambda: list(read_ids(str(folder / "ids.txt"), bad))


def _questions(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    records: list[Any] = []
    good = []
    for number in range(chosen.randint(0, 5)):
        record = {"id": f"q{number}", "question": "Who?", "answers": chosen.choice(["x", 3, ["x", 1.5]])}
        record["document_ids"] = chosen.choice([None, 7, ["a", 2]])
        if chosen.random() < 0.3:
            record[chosen.choice(list(record))] = chosen.choice(ODD)
        else:
            good.append(f"q{number}")
        records.append(record)
    whole = _write(chosen, folder / "q.jsonl", "\n".join(map(json.dumps, [*records, chosen.choice(ODD)])))
    path = str(folder / "q.jsonl")
    return good if whole else [], lambda: [item.id for item in read_questions([path], bad)]


def _yaml(chosen: random.Random, folder: Path, bad: BadInputs) -> Expected:
    lines = [
        f"key{n}: {chosen.choice(['1', 'yes', 'é', '[a, b]', '{a: 1}', '2026-05-01'])}" for n in range(3)
    ]
    lines += chosen.choice(
        [[], [], ["&a"], ["- x"], ["? ["], ["a: *b"], ["\t"], ["x: 2026-99-99"], ["x: !!python/y"]]
    )
    whole = _write(chosen, folder / "s.yaml", "\n".join(lines) + "\n") and len(lines) == 3
    return [f"key{n}" for n in range(3)] if whole else [], lambda: list(read_yaml(folder / "s.yaml"))


KINDS: dict[str, Callable[[random.Random, Path, BadInputs], Expected]] = {
    "jsonl": _jsonl,
    "json": _array,
    "csv": _csv,
    "parquet": _parquet,
    "squad": _squad,
    "streamingqa": _published("streamingqa", "qa_id,text,question,answers", "q{0},Text {0}.,Who?,x"),
    "archivalqa": _published(
        "archivalqa",
        "id,question,answer,doc_id,para_num,ans_paragraph",
        "q{0},Who?,x,d{0},{0},Paragraph {0}.",
    ),
    "ids": _ids,
    "questions": _questions,
    "yaml": _yaml,
}
