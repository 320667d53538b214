"""LongMemEval (Wu et al., 2024): questions about a user's chats with an assistant, over many sessions.

One JSON file: a list of questions, each with the sessions it may be answered from (``haystack_sessions``,
with their ids and dates) and the ids of those that do answer it. The documents are the sessions, each once
however many questions list it, turn by turn. A question whose id ends in ``_abs`` cannot be answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.json_file import read_json
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.corpus.readers import KEPT_WITHOUT_TIME
from mbc_cli.corpus.records import as_text, identifier_from, required_text
from mbc_cli.corpus.times import parse_timestamp
from mbc_cli.errors import InputError

DESCRIPTION = DatasetDescription(
    name="longmemeval",
    what="Questions about what a user told an assistant over many sessions; some have no answer.",
    languages="English",
    splits={
        "s": "500 questions, about 40 sessions each",
        "oracle": "500 questions, only the sessions that answer them",
        "m": "500 questions, about 500 sessions each",
    },
    licence="MIT",
    citation="Wu et al. 2024, LongMemEval, arXiv 2410.10813",
    source="https://github.com/xiaowu0162/LongMemEval",
    files={
        split: (f"longmemeval_{split}.json", f"longmemeval_{split}_*.json") for split in ("s", "oracle", "m")
    },
    how_to_get="put longmemeval_s.json, longmemeval_oracle.json or longmemeval_m.json there",
)
HUB = "xiaowu0162/longmemeval-cleaned"
_MOST_BYTES = 3 * 2**30  # the largest of the published files has 2.7 GB


def hub_file_name(split: str) -> str:
    """The name of a split's file on the hub."""
    return "longmemeval_oracle.json" if split == "oracle" else f"longmemeval_{split}_cleaned.json"


def load(path: Path, bad: BadInputs, delimiter: str | None = None) -> QuestionDataset:
    """Load one file."""
    content = read_json(path, bad, _MOST_BYTES)
    if not isinstance(content, list):
        raise InputError(f"{path} is not in LongMemEval's format: it is no list of questions")
    dataset = QuestionDataset("longmemeval")
    sessions: dict[str, str] = {}  # the id of a session in the file -> that of its document
    for number, entry in enumerate(content, start=1):
        place = f"{path} question {number}"
        try:
            _add(dataset, sessions, entry, place, bad)
        except BadRecord as reason:
            bad.add(place, str(reason))
    return dataset


def _add(
    dataset: QuestionDataset, sessions: dict[str, str], entry: object, place: str, bad: BadInputs
) -> None:
    if not isinstance(entry, Mapping):
        raise BadRecord("it is not an object")
    question = required_text(entry, "question")
    identifier = identifier_from({"id": entry.get("question_id")})
    names = _list(entry, "haystack_session_ids")
    talks = _list(entry, "haystack_sessions")
    dates = entry.get("haystack_dates")
    dates = dates if isinstance(dates, list) else [None] * len(names)
    if not len(names) == len(talks) == len(dates):
        raise BadRecord(
            f"it has {len(names)} haystack_session_ids, {len(talks)} haystack_sessions and "
            f"{len(dates)} haystack_dates; accepted: as many of each"
        )
    for name, talk, date in zip(names, talks, dates, strict=True):
        known = identifier_from({"id": name})
        if known not in sessions and (text := "\n".join(_turns(talk))):
            required_text({"text": text}, "text")
            sessions[known] = dataset.add_document(text, known, timestamp=_timestamp(date, place, bad))
    if identifier.endswith("_abs"):
        dataset.add_question(identifier, question, [])
        return
    answer = as_text(entry.get("answer"))
    answer = required_text({"answer": answer}, "answer")
    wanted = [sessions[str(name)] for name in _list(entry, "answer_session_ids") if str(name) in sessions]
    dataset.add_question(identifier, question, [answer], *dict.fromkeys(wanted))


def _list(entry: Mapping[str, object], name: str) -> Sequence[object]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise BadRecord(f"field {name!r} is {value!r:.40}; accepted: a list")
    return value


def _turns(talk: object) -> Iterator[str]:
    """Each turn of a session as a line that says who speaks."""
    for turn in talk if isinstance(talk, list) else []:
        content = turn.get("content") if isinstance(turn, Mapping) else None
        if isinstance(content, str) and content.strip():
            yield f"{turn.get('role', 'user')}: {content.strip()}"


def _timestamp(date: object, place: str, bad: BadInputs) -> int | None:
    """``2023/05/20 (Sat) 02:21`` in microseconds since 1970, without the weekday."""
    if not isinstance(date, str):
        return None
    day, _, rest = date.partition("(")
    hour = rest.partition(")")[2].strip()
    written = f"{day.strip().replace('/', '-')}T{hour}" if hour else day.strip().replace("/", "-")
    try:
        return parse_timestamp(written)
    except ValueError:
        bad.remark(place, KEPT_WITHOUT_TIME)
        return None
