"""Data sets by name: where they are looked for, what their samples hold, and how sources are prepared."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mbc_cli import reporting
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets import DATASETS, KINDS, load_dataset
from mbc_cli.corpus.datasets import hub as hub_module
from mbc_cli.corpus.datasets.ordering import ordered
from mbc_cli.corpus.datasets.prepare import prepare
from mbc_cli.corpus.documents import Document
from mbc_cli.errors import MbcError, UsageError
from mbc_cli.metrics import normalize_answer, scorable
from tests.support.heard import Heard

PUBLISHED = list(KINDS)


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own, and no hub."""
    monkeypatch.setenv("MBC_DATA", str(tmp_path / "data"))

    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    return tmp_path / "data"


# Samples.


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_sample_has_sixty_documents_and_questions_whose_answers_stand_in_them(name: str) -> None:
    bad = BadInputs()
    dataset = load_dataset(name, bad=bad)
    assert (len(dataset.documents), len(dataset.questions), bad.count) == (60, 120, 0)
    assert dataset.is_sample
    assert len({document.text for document in dataset.documents}) == 60
    texts = {document.id: f" {normalize_answer(document.text)} " for document in dataset.documents}
    asked = dataset.answerable
    assert len(asked) >= 100
    for question in asked:
        assert question.document_ids
        assert scorable(question.answers)
        answers = [f" {normalize_answer(answer)} " for answer in question.answers]
        assert any(answer in texts[name] for answer in answers for name in question.document_ids), question
    answered = [question.question for question in asked]
    assert len(set(answered)) == len(answered)


@pytest.mark.parametrize(("name", "count"), [("squad", 15), ("longmemeval", 12)])
def test_samples_have_unanswerable_questions_where_the_data_set_has(name: str, count: int) -> None:
    dataset = load_dataset(name)
    assert len(dataset.questions) - len(dataset.answerable) == count


def test_the_sample_of_xquad_says_the_same_in_both_languages() -> None:
    english, german = (load_dataset("xquad", split=language) for language in ("en", "de"))
    assert [question.id for question in english.questions] == [question.id for question in german.questions]
    assert english.documents[0].text != german.documents[0].text


def test_times_are_those_of_the_sample() -> None:
    for name in ("streamingqa", "archivalqa", "longmemeval"):
        assert all(document.timestamp is not None for document in load_dataset(name).documents)


def test_a_sample_says_that_it_is_one_and_how_to_get_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    monkeypatch.setattr(reporting, "_listener", heard)
    dataset = load_dataset("archivalqa")
    (line,) = heard.notes
    assert line.startswith(
        "this is the sample written for mbc, not archivalqa: 60 documents and 120 questions"
    )
    assert "mbc dataset prepare archivalqa" in line
    assert dataset.described()["is_sample"] is True
    assert "mbc dataset prepare" in str(dataset.described()["how_to_get"])


def test_nothing_is_trained_on_a_sample_unasked() -> None:
    with pytest.raises(UsageError, match="the bundled sample is for trying out alone"):
        load_dataset("streamingqa", split="train", sample=False)


def test_a_split_that_the_sample_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="sample of data set squad has no split 'train', only validation"):
        load_dataset("squad", split="train")


# Where data sets are found.


def squad_file(path: Path, question: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    qas = [{"id": "q", "question": question, "answers": [{"text": "Mira"}]}]
    content = {"data": [{"title": "Museum", "paragraphs": [{"context": "Mira came.", "qas": qas}]}]}
    path.write_text(json.dumps(content))
    return path


def hub(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    asked: list[tuple[object, ...]] = []

    def give(repository: str, configuration: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((repository, configuration, split))
        return rows

    monkeypatch.setattr("datasets.load_dataset", give)
    return asked


ROW = {
    "id": "1",
    "title": "T",
    "context": "Mira came.",
    "question": "From the hub?",
    "answers": {"text": ["Mira"]},
}


def test_what_is_named_goes_before_the_data_folder_and_that_before_the_hub(
    tmp_path: Path, away: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hub(monkeypatch, [ROW])
    found = load_dataset("squad")
    assert (found.questions[0].question, found.source) == ("From the hub?", "rajpurkar/squad on the hub")
    assert not found.is_sample
    squad_file(away / "squad" / "dev-v1.1.json", "From the data folder?")
    assert load_dataset("squad").questions[0].question == "From the data folder?"
    squad_file(away / "squad" / "dev-v2.0.json", "The newer one?")
    assert load_dataset("squad").questions[0].question == "The newer one?"
    folder = squad_file(tmp_path / "mine" / "Dev-V1.1.json", "From a folder?").parent
    assert load_dataset("squad", documents=folder).questions[0].question == "From a folder?"
    file = squad_file(tmp_path / "any.json", "From a file?")
    assert load_dataset("squad", documents=file).questions[0].question == "From a file?"
    assert asked == [("rajpurkar/squad", None, "validation")]


def test_xquad_asks_the_hub_for_a_language(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, [ROW])
    assert load_dataset("xquad", split="th").questions[0].answers == ("Mira",)
    assert asked == [("google/xquad", "xquad.th", "validation")]


def test_a_hub_without_its_library_is_a_hub_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(hub_module.NotReached, match="datasets is not installed"):
        list(hub_module.hub_rows("a/b", None, "train"))
    assert load_dataset("squad").is_sample


def test_longmemeval_is_one_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    file = tmp_path / "longmemeval_s_cleaned.json"
    file.write_text(json.dumps([memory_entry()]))

    def give(repository: str, name: str, repo_type: str) -> str:
        asked.append((repository, name, repo_type))
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", give)
    assert load_dataset("longmemeval").documents[0].id == "s1"
    assert asked == [("xiaowu0162/longmemeval-cleaned", "longmemeval_s_cleaned.json", "dataset")]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("squad", "tset", "no split 'tset'; it has validation, train"),
        ("xquad", "fr", "no split 'fr'; it has en, ar"),
        ("sqaud", None, "unknown dataset 'sqaud'"),
    ],
)
def test_what_is_unknown_is_told_with_what_there_is(name: str, split: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_dataset(name, split=split)


def test_a_split_goes_by_its_usual_names() -> None:
    for name in ("dev", "val", "valid", "validation"):
        assert load_dataset("fairytaleqa", split=name).split == "validation"


def test_a_folder_without_the_data_set_names_the_file_it_wants(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no file of data set xquad, split de") as failure:
        load_dataset("xquad", documents=tmp_path, split="de")
    assert "xquad.de.json" in str(failure.value)


# Published forms.


def memory_entry(**changes: Any) -> dict[str, Any]:
    return {
        "question_id": "q1",
        "question_type": "single-session-user",
        "question": "Where do I live?",
        "answer": "Lindholm",
        "question_date": "2023/06/01 (Thu) 10:00",
        "haystack_session_ids": ["s1", "s2"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:05"],
        "haystack_sessions": [
            [{"role": "user", "content": "I moved to Lindholm.", "has_answer": True},
             {"role": "assistant", "content": "Nice!"}],
            [{"role": "user", "content": "It rains."}],
        ],
        "answer_session_ids": ["s1"],
    } | changes  # fmt: skip


def test_sessions_of_longmemeval_are_documents_once_with_their_turns_and_times(tmp_path: Path) -> None:
    absent = memory_entry(question_id="q2_abs", question="What is my parrot called?", answer="Not said.")
    number = memory_entry(question_id="q3", answer=3, haystack_dates=["no time", None])
    broken = memory_entry(question_id="q4", haystack_dates=["2023/05/20"])
    file = tmp_path / "longmemeval_oracle.json"
    file.write_text(json.dumps([memory_entry(), absent, number, broken, "odd", memory_entry(answer="")]))
    bad = BadInputs()
    dataset = load_dataset("longmemeval", documents=file, bad=bad)
    assert [(each.id, each.timestamp) for each in dataset.documents] == [
        ("s1", 1_684_549_260_000_000),
        ("s2", 1_684_663_500_000_000),
    ]
    assert dataset.documents[0].text == "user: I moved to Lindholm.\nassistant: Nice!"
    assert [(each.id, each.answers, each.document_ids) for each in dataset.questions] == [
        ("q1", ("Lindholm",), ("s1",)),
        ("q2_abs", (), ()),
        ("q3", ("3",), ("s1",)),
    ]
    assert bad.count == 3


def test_fairytaleqa_is_read_from_both_of_its_forms(tmp_path: Path) -> None:
    table = tmp_path / "valid.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["story_name", "story_section", "question", "answer1", "answer2", "attribute"])
        writer.writerow(["fox", "A fox came.\nIt ate.", "Who came?", "a fox", "the fox", "character"])
        writer.writerow(["fox", "A fox came.\nIt ate.", "What then?", "it ate", "", "action"])
        writer.writerow(["fox", "It slept.", "", "it slept", "", "action"])
    bad = BadInputs()
    dataset = load_dataset("fairytaleqa", documents=table, bad=bad)
    assert [(each.id, each.text) for each in dataset.documents] == [("fox#1", "A fox came.\nIt ate.")]
    assert [each.answers for each in dataset.questions] == [("a fox", "the fox"), ("it ate",)]
    assert bad.count == 1
    (tmp_path / "test.documents.jsonl").write_text('{"id": "a", "text": "A hare ran."}\n')
    with pytest.raises(MbcError, match=r"has no test\.questions\.jsonl beside it"):
        load_dataset("fairytaleqa", documents=tmp_path, split="test")
    question = {"id": "q", "question": "Who ran?", "answers": ["a hare"], "document_ids": ["a"]}
    (tmp_path / "test.questions.jsonl").write_text(json.dumps(question))
    assert load_dataset("fairytaleqa", documents=tmp_path, split="test").questions[0].document_ids == ("a",)


# Order.


def test_documents_stream_in_the_order_that_is_asked_for() -> None:
    documents = [Document(str(n), "x", timestamp=time) for n, time in enumerate([3, None, 1, 2, None, 1])]
    assert [each.id for each in ordered(documents, "given")] == list("012345")
    assert [each.id for each in ordered(documents, "time")] == list("253014")
    shuffled = [each.id for each in ordered(documents, "shuffled", seed=3)]
    assert sorted(shuffled) == list("012345")
    assert shuffled == [each.id for each in ordered(documents, "shuffled", seed=3)]
    assert shuffled != [each.id for each in ordered(documents, "shuffled", seed=4)]
    with pytest.raises(UsageError, match="given, time, shuffled"):
        ordered(documents, "newest")


# Preparing.


def test_questions_of_streamingqa_are_paired_with_the_users_news(tmp_path: Path, away: Path) -> None:
    questions = tmp_path / "streaminqa_eval.jsonl"
    rows = [
        {"qa_id": "eval-1", "question": "Who won?", "answers": ["Mira"], "answers_additional": ["Mira Holm"],
         "evidence_id": "n1", "evidence_ts": 1577836800},
        {"qa_id": "eval-2", "question": "When?", "answers": ["today"], "evidence_id": "n9", "evidence_ts": 1},
        {"qa_id": "eval-3", "answers": ["x"], "evidence_id": "n1"},
    ]  # fmt: skip
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    news = tmp_path / "wmt.jsonl"
    news.write_text(
        '{"sorting_key": "n1", "text": "Mira Holm won."}\n{"sorting_key": "n2", "text": "Rain."}\n'
    )
    bad = BadInputs()
    (made,) = prepare("streamingqa", [questions], passages=[news], bad=bad)
    assert (made.path, made.split) == (away / "streamingqa" / "test.csv", "test")
    assert (made.documents, made.questions, made.unmatched, bad.count) == (1, 1, 1, 1)
    dataset = load_dataset("streamingqa")
    assert not dataset.is_sample
    assert dataset.questions[0].answers == ("Mira", "Mira Holm")
    assert dataset.documents[0].timestamp == 1_577_836_800_000_000
    before = made.path.read_bytes()
    prepare("streamingqa", [questions], passages=[news], bad=BadInputs())
    assert made.path.read_bytes() == before


def test_questions_of_archivalqa_are_paired_with_the_licensed_paragraphs(tmp_path: Path) -> None:
    questions = tmp_path / "ArchivalQA_train.csv"
    questions.write_text("id,question,answer,para_id\ntrain_0,Who won?,Mira,17_2\ntrain_1,Who?,Tove,99_1\n")
    passages = tmp_path / "nyt.jsonl"
    passages.write_text(
        '{"doc_id": 17, "para_num": 2, "text": "Mira won."}\n{"doc_id": 17, "text": "no number"}\n'
    )
    (made,) = prepare(
        "archivalqa", [questions], passages=[passages], folder=tmp_path / "out", bad=BadInputs()
    )
    assert (made.split, made.questions, made.unmatched) == ("train", 1, 1)
    dataset = load_dataset("archivalqa", documents=tmp_path / "out", split="train")
    assert [(each.id, each.text) for each in dataset.documents] == [("17_2", "Mira won.")]


def test_a_published_file_is_read_before_it_is_copied(tmp_path: Path, away: Path) -> None:
    file = squad_file(tmp_path / "train-v2.0.json", "Who?")
    (made,) = prepare("squad", [file], bad=BadInputs())
    assert made.path.read_bytes() == file.read_bytes()
    assert load_dataset("squad", split="train").questions[0].question == "Who?"
    broken = tmp_path / "dev-v2.0.json"
    broken.write_text("{")
    with pytest.raises(MbcError, match=r"dev-v2\.0\.json"):
        prepare("squad", [broken], bad=BadInputs())
    assert not (away / "squad" / "dev-v2.0.json").exists()


@pytest.mark.parametrize(
    ("name", "file", "passages", "message"),
    [
        ("squad", "mine.json", [], "does not tell its split"),
        ("squad", "dev-v1.1.json", ["p"], "has its texts in its own files"),
        ("archivalqa", "test.csv", [], "no passages are named"),
        ("sqaud", "dev-v1.1.json", [], "unknown data set"),
    ],
)
def test_what_cannot_be_prepared_is_said(
    name: str, file: str, passages: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(name, [tmp_path / file], passages=[tmp_path / each for each in passages], bad=BadInputs())


def test_every_data_set_tells_what_it_is() -> None:
    assert set(DATASETS) == {*KINDS, "jsonl"}
    for name, kind in KINDS.items():
        known = kind.description
        assert name == known.name
        assert known.splits.keys() == known.files.keys()
        assert known.source.startswith("https://")
        assert all((known.what, known.licence, known.citation, known.languages, known.how_to_get))
