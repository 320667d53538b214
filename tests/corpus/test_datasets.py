"""Datasets: documents once however many questions, from the published files' own form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets import load_dataset
from mbc_cli.corpus.documents import Question
from mbc_cli.errors import MbcError, UsageError


def write_squad(path: Path) -> Path:
    paragraph = {
        "context": "Super Bowl 50 was played in Santa Clara.",
        "qas": [
            {"id": "q1", "question": "Where?", "answers": [{"text": "Santa Clara"}, {"text": "Santa Clara"}]},
            {"id": "q2", "question": "When?", "answers": [], "is_impossible": True},
        ],
    }
    second = {"context": "Another paragraph.", "qas": [{"id": "q3", "question": "What?", "answers": []}]}
    content = {
        "data": [{"title": "Super_Bowl", "paragraphs": [paragraph, second, paragraph]}, {"title": "broken"}]
    }
    path.write_text(json.dumps(content))
    return path


def test_squad_holds_each_paragraph_once_and_its_questions_without_an_answer(tmp_path: Path) -> None:
    bad = BadInputs()
    dataset = load_dataset("squad", documents=write_squad(tmp_path / "squad.json"), bad=bad)
    assert [document.id for document in dataset.documents] == ["Super_Bowl#1", "Super_Bowl#2"]
    assert dataset.questions[0] == Question("q1", "Where?", ("Santa Clara",), ("Super_Bowl#1",))
    assert [question.question for question in dataset.answerable] == ["Where?", "Where?"]
    unanswerable = [question for question in dataset.questions if not question.answers]
    assert unanswerable == [Question("q2", "When?", (), ("Super_Bowl#1",))] * 2
    assert bad.count == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"data": 3}'])
def test_a_file_that_is_not_squad_is_one_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(MbcError, match=r"x\.json"):
        load_dataset("squad", documents=tmp_path / "x.json")


def test_streamingqa_splits_answers_at_backslashes_and_joins_rows_of_one_article(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text(
        "qa_id,text,question,answers,evidence_ts\n"
        'eval-0,"Mira won.\nToday.",Who won?,Mira\\Mira Okafor,1577836800\n'
        'eval-1,"Mira won.\nToday.",When?,today,1577836800\n'
        "eval-2,Other.,What?,other,\n"
    )
    dataset = load_dataset("streamingqa", documents=path)
    assert [(d.id, d.text, d.timestamp) for d in dataset.documents] == [
        ("article-1", "Mira won.\nToday.", 1_577_836_800_000_000),
        ("article-2", "Other.", None),
    ]
    assert dataset.questions[0] == Question("eval-0", "Who won?", ("Mira", "Mira Okafor"), ("article-1",))
    assert dataset.questions[1].document_ids == ("article-1",)


def test_archivalqa_orders_an_articles_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "val.csv"
    path.write_text(
        "id,question,answer,doc_id,para_num,ans_paragraph,title,date\n"
        "val_1,Who?,Al,900,7,Seventh paragraph.,News,2002-03-04\n"
        "val_2,What?,bee,100,1,Of another article.,,2002-03-05\n"
        "val_3,When?,May,900,2,Second paragraph.,News,2002-03-04\n"
        "val_4,Where?,here,900,x,Broken.,News,2002-03-04\n"
    )
    bad = BadInputs()
    dataset = load_dataset("archivalqa", documents=path, bad=bad)
    assert [document.id for document in dataset.documents] == ["900_2", "900_7", "100_1"]
    assert dataset.documents[0].timestamp == 1_015_200_000_000_000
    assert [question.id for question in dataset.questions] == ["val_3", "val_1", "val_2"]
    assert "para_num" in str(bad.examples[0])


def test_a_truncated_squad_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "squad.json.gz"
    path.write_bytes(gzip.compress(b'{"data": []}')[:-6])
    with pytest.raises(MbcError, match=r"squad\.json\.gz: the compressed data end too early"):
        load_dataset("squad", documents=path)


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,question\na,b\n")
    with pytest.raises(MbcError, match="no column 'answers'; the columns are text, question"):
        load_dataset("streamingqa", documents=tmp_path / "x.csv")


def test_ones_own_questions_must_name_documents_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "text": "t"}')
    (tmp_path / "q.jsonl").write_text(
        '{"question": "Who?", "answers": "x", "document_ids": ["a"]}\n'
        '{"question": "Why?", "answers": "y", "document_ids": ["gone"]}\n'
    )
    bad = BadInputs()
    dataset = load_dataset("jsonl", documents=tmp_path / "d.jsonl", questions=tmp_path / "q.jsonl", bad=bad)
    assert [question.question for question in dataset.questions] == ["Who?"]
    assert "'gone'" in str(bad.examples[0])


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown dataset 'sqaud'") as caught:
        load_dataset("sqaud")
    assert caught.value.hint == "did you mean 'squad'?"


def squad_of(questions: list[Any], **article: Any) -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": "Al sold it.", "qas": questions}], **article}]})


GOOD = {"id": "good", "question": "Who?", "answers": [{"text": "Al"}]}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"question": None},
        {"question": "  "},
        {"question": "Who \ud83d?"},
        {"answers": [{"text": None}]},
        {"answers": []},
        {"answers": {"text": []}},
        {"answers": {"text": [None]}},
        {"answers": True},
        {"id": ["q"]},
    ],
)
def test_a_squad_question_that_cannot_be_used_costs_itself_alone(
    spoilt: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "s.json").write_text(squad_of([{**GOOD, "id": "bad", **spoilt}, "no object", GOOD]))
    bad = BadInputs()
    dataset = load_dataset("squad", documents=tmp_path / "s.json", bad=bad)
    assert [question.id for question in dataset.questions] == ["good"]
    assert bad.count == 2


def test_squad_without_answers_and_with_spoilt_paragraphs_keeps_the_rest(tmp_path: Path) -> None:
    paragraphs = [{"context": context, "qas": [GOOD]} for context in (None, "", ["a"], "half \ud83d")]
    paragraphs += [{"context": "Al.", "qas": [{"id": "q", "question": "Who?"}, GOOD]}, {"context": "x"}]  # type: ignore[list-item]
    (tmp_path / "s.json").write_text(json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}, 7]}))
    bad = BadInputs()
    dataset = load_dataset("squad", documents=tmp_path / "s.json", bad=bad)
    assert [question.id for question in dataset.questions] == ["good"]
    assert bad.count == 4 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("answers", "read"),
    [
        ({"text": ["Al", 7], "answer_start": [0, 1]}, ("Al", "7")),
        ([{"text": 12, "answer_start": 0}, {"text": None}], ("12",)),
        (["Al"], ("Al",)),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_squad_answers_are_read_as_the_hub_stores_them_and_as_numbers(
    answers: Any, read: tuple[str, ...], encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "s.json").write_text(squad_of([{**GOOD, "id": 5, "answers": answers}]), encoding=encoding)
    (question,) = load_dataset("squad", documents=tmp_path / "s.json").questions
    assert (question.id, question.answers) == ("5", read)


@pytest.mark.parametrize(
    ("title", "id"), [(1984, "1984#1"), (None, "article 1#1"), ("a\nb" * 300, "article 1#1")]
)
def test_squad_titles_that_can_be_no_id_are_numbered(title: Any, id: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(squad_of([GOOD], title=title))
    assert load_dataset("squad", documents=tmp_path / "s.json").documents[0].id == id


def test_of_equal_ids_the_later_document_and_question_count(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        '{"id": "a", "text": "1"}\n{"id": "b", "text": "2"}\n{"id": "a", "text": "3"}'
    )
    (tmp_path / "q.csv").write_text("id;question;answers\nq;Who?;Al\nq;When?;May\n")
    bad = BadInputs()
    dataset = load_dataset("jsonl", documents=tmp_path / "d.jsonl", questions=tmp_path / "q.csv", bad=bad)
    assert [(document.id, document.text) for document in dataset.documents] == [("b", "2"), ("a", "3")]
    assert [question.question for question in dataset.questions] == ["When?"]
    assert bad.count == 0
    assert sum(count for what, count in bad.remarks.items() if "comes again" in what) == 2


def test_a_dataset_with_a_format_of_its_own_takes_no_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a format of its own"):
        load_dataset("squad", documents=tmp_path / "s.json", format="jsonl")
