"""Sources of data sets, checked or paired, into their published form in the data folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets import KINDS, archivalqa, streamingqa
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.places import data_folder
from mbc_cli.corpus.readers import read_records
from mbc_cli.errors import InputError, UsageError, nearest_hint
from mbc_cli.files import write_file

Row = Mapping[str, object]

_SIGNS = {"test": ("test", "eval"), "validation": ("val", "dev"), "train": ("train",)}
"""How words in a file's name begin that tell its split."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that was written, and what is in it; ``unmatched`` questions had no passage and are left out."""

    path: Path
    split: str
    documents: int
    questions: int
    unmatched: int = 0


@dataclass(frozen=True, slots=True)
class _Pairing:
    """How questions and passages of a data set find each other: by equal keys."""

    question_key: Callable[[Row], str | None]
    passage_key: Callable[[Row], str | None]
    columns: tuple[str, ...]
    row: Callable[[Row, str, str], dict[str, object]]


def prepare(
    name: str,
    files: Sequence[Path],
    *,
    passages: Sequence[Path] = (),
    folder: Path | None = None,
    bad: BadInputs,
) -> list[Prepared]:
    """Write each of ``files`` in the published form of data set ``name``.

    Args:
        files: named as published, so that their split can be told.
        passages: the user's own corpus, for data sets whose texts are not published with the questions.
        folder: where to; by default that of the data set in the data folder.
        bad: counts records that cannot be used.

    Raises:
        UsageError: there is no such data set, a name tells no split, or passages are missing or too many.
        MbcError: a file cannot be read or holds nothing of the data set.
    """
    if name not in KINDS:
        raise UsageError(f"unknown data set {name!r}", nearest_hint(name, KINDS))
    description = KINDS[name].description
    target = data_folder() / name if folder is None else folder
    splits = [_split_of(description, file) for file in files]
    pairing = _PAIRINGS.get(name)
    if pairing is None:
        if passages:
            raise UsageError(f"data set {name} has its texts in its own files", "leave out --passages")
        return [_checked(name, file, target, split, bad) for file, split in zip(files, splits, strict=True)]
    if not passages:
        raise UsageError(
            f"data set {name} is published without its texts, and no passages are named",
            f"name your copy of the corpus with --passages ({description.licence})",
        )
    texts: dict[str, str] = {}
    for _, record in read_records([str(path) for path in passages], bad, None, None, "text"):
        if isinstance(record, Mapping) and (key := pairing.passage_key(record)) is not None:
            texts.setdefault(key, str(record["text"]))
    return [
        _paired(name, file, target, split, pairing, texts, bad)
        for file, split in zip(files, splits, strict=True)
    ]


def _split_of(description: DatasetDescription, file: Path) -> str:
    """The split that a file is, told by its name."""
    plain = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    stem = plain.rpartition(".")[0]
    for split, patterns in description.files.items():
        # Sources may come in another format than the published one: only the stem counts.
        if any(fnmatch(plain, each) or fnmatch(stem, each.rpartition(".")[0]) for each in patterns):
            return split
    words = re.split("[^a-z]+", stem)
    for split, signs in _SIGNS.items():
        if split in description.files and any(word.startswith(signs) for word in words):
            return split
    raise UsageError(
        f"the name of {file} does not tell its split",
        f"name it as published: {', '.join(names[0] for names in description.files.values())}",
    )


def _checked(name: str, file: Path, folder: Path, split: str, bad: BadInputs) -> Prepared:
    """Copy a file in the published form, once it is read and found to hold questions."""
    found = KINDS[name].load(file, bad, None)
    if not found.questions:
        raise InputError(f"{file} holds no question of data set {name}", "check which file it is")
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / file.name, file.read_bytes())
    beside = file.with_name(file.name.replace(".documents.", ".questions."))
    if beside != file:
        write_file(folder / beside.name, beside.read_bytes())
    return Prepared(folder / file.name, split, len(found.documents), len(found.questions))


def _paired(
    name: str,
    file: Path,
    folder: Path,
    split: str,
    pairing: _Pairing,
    texts: Mapping[str, str],
    bad: BadInputs,
) -> Prepared:
    """Write the paired CSV of one file of questions."""
    written = io.StringIO()
    writer = csv.DictWriter(written, pairing.columns, lineterminator="\n")
    writer.writeheader()
    used: set[str] = set()
    count = unmatched = 0
    for place, record in read_records([str(file)], bad, None, None, "question"):
        key = pairing.question_key(record) if isinstance(record, Mapping) else None
        if not isinstance(record, Mapping) or key is None or not record.get("question"):
            bad.add(place, f"it is no question of data set {name}")
        elif key not in texts:
            unmatched += 1
        else:
            writer.writerow(pairing.row(record, key, texts[key]))
            used.add(key)
            count += 1
    if not count:
        raise InputError(
            f"none of the questions in {file} has its passage in what --passages names",
            "their ids must be those that the questions name",
        )
    target = folder / KINDS[name].description.files[split][0]
    folder.mkdir(parents=True, exist_ok=True)
    write_file(target, written.getvalue())
    return Prepared(target, split, len(used), count, unmatched)


def _first(record: Row, *names: str) -> str | None:
    """The first of these fields that holds something, as text."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str | int) and str(value).strip():
            return str(value).strip()
    return None


def _streamingqa_row(record: Row, key: str, text: str) -> dict[str, object]:
    answers = [record.get("answers"), record.get("answers_additional")]
    listed = [item for each in answers for item in (each if isinstance(each, list) else [each]) if item]
    return {
        "qa_id": _first(record, "qa_id", "id") or "",
        "question": record["question"],
        "answers": streamingqa.ANSWER_SEPARATOR.join(dict.fromkeys(map(str, listed))),
        "evidence_id": key,
        "evidence_ts": _first(record, "evidence_ts") or "",
        "text": text,
    }


def _paragraph(record: Row) -> str | None:
    """``DOC_PARA``, from two fields or from one."""
    document, number = _first(record, "doc_id"), _first(record, "para_num")
    if document is not None and number is not None:
        return f"{document}_{number}"
    return _first(record, "para_id", "id")


def _archivalqa_row(record: Row, key: str, text: str) -> dict[str, object]:
    document, _, paragraph = key.rpartition("_")
    return {
        "id": _first(record, "id") or "",
        "question": record["question"],
        "answer": record.get("answer", ""),
        "ans_paragraph": text,
        "doc_id": document,
        "para_num": paragraph,
        "date": _first(record, "date", "pub_date") or "",
    }


def _with_text(key: Callable[[Row], str | None]) -> Callable[[Row], str | None]:
    return lambda record: key(record) if isinstance(record.get("text"), str) else None


_PAIRINGS: Mapping[str, _Pairing] = {
    "streamingqa": _Pairing(
        lambda record: _first(record, "evidence_id"),
        _with_text(lambda record: _first(record, "sorting_key", "evidence_id", "id")),
        ("qa_id", "question", "answers", "evidence_id", "evidence_ts", "text"),
        _streamingqa_row,
    ),
    "archivalqa": _Pairing(
        _paragraph,
        _with_text(_paragraph),
        ("id", *archivalqa.COLUMNS, "date"),
        _archivalqa_row,
    ),
}
