"""A run writes what it has as it goes, goes on from there, and chooses settings where nothing is reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.registry import METHODS, MethodKind
from mbc_cli.evaluation.online import Stream
from mbc_cli.evaluation.results import FILES, PREDICTIONS, RESULTS, read_predictions, read_results
from mbc_cli.evaluation.run import Plan, Run
from mbc_cli.memory import Memory
from tests.support.planted_methods import Planted
from tests.support.tiny_memories import CountedCalls, numbered_documents

DOCUMENTS = numbered_documents(10)
QUESTIONS = [Question(f"q{n}", f"Who opened museum {n}?", ("Mira",), (f"d{n}",)) for n in range(6)]
STREAM = Stream.of(DOCUMENTS, QUESTIONS, [4])
DATA = {"dataset": "planted", "is_sample": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, object]]:
    """Methods `perfect`, `useless` and `broken`; the settings that `perfect` was made with so far."""
    made: list[Mapping[str, object]] = []

    def perfect(setting: Setting) -> Planted:
        made.append(setting.options)
        wrong = setting.options.get("k") == 1
        return Planted(says={} if wrong else {each.id: "Mira" for each in QUESTIONS})

    def broken(setting: Setting) -> Planted:
        raise KeyboardInterrupt

    for name, make, grid in (
        ("perfect", perfect, [{"k": 1}, {"k": 2}]),
        ("useless", lambda setting: Planted(), [{}]),
        ("broken", broken, [{}]),
    ):
        monkeypatch.setitem(METHODS, name, MethodKind(name, f"is {name}", make, grid))  # type: ignore[arg-type]
    return made


def plan(*methods: str, **changes: object) -> Plan:
    return Plan(methods=methods, described={"command": "mbc evaluate"}, **changes)  # type: ignore[arg-type]


def exact_match(run: Run, method: str) -> list[float]:
    stages = run.results.methods[method]["stages"]
    return [stage["measures"]["exact_match"]["value"] for stage in stages]


def test_methods_are_compared_on_the_same_questions(memory: Memory, planted: object) -> None:
    run = Run(
        memory, STREAM, plan("none", "memory", "useless", "perfect", options={"perfect": {"k": 2}}), DATA
    )
    results = run.execute()
    assert list(results.methods) == ["none", "memory", "useless", "perfect"]
    assert exact_match(run, "perfect") == [1, 1]
    assert exact_match(run, "useless") == [0, 0]
    assert {(each["first"], each["second"]) for each in results.paired} >= {("memory", "perfect")}
    asked = {key: [each.question.id for each in part] for key, part in run.predictions.items()}
    assert len({tuple(ids) for (_, size), ids in asked.items() if size == 10}) == 1
    assert results.data["questions"] == 6
    assert memory.document_count == 10


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(
    memory: Memory, planted: list[Mapping[str, object]], folder: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Run(memory, STREAM, plan("perfect", "broken", options={"perfect": {"k": 2}}), DATA, folder).execute()
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert len(planted) == 1
    again = Run(memory, STREAM, plan("perfect", "useless", options={"perfect": {"k": 2}}), DATA, folder)
    again.resume()
    again.execute()
    assert len(planted) == 1
    assert list(read_results(folder).methods) == ["perfect", "useless"]
    assert {method for method, _ in read_predictions(folder)} == {"perfect", "useless"}
    whole = Run(memory, STREAM, plan("perfect", "useless", options={"perfect": {"k": 2}}), DATA)
    whole.execute()
    assert whole.predictions == again.predictions == read_predictions(folder)
    assert whole.results.paired == again.results.paired


@pytest.mark.parametrize(
    ("stream", "seed", "named"),
    [
        (Stream.of(DOCUMENTS, QUESTIONS[:5], [4]), 0, "questions is 6 there and 5 here"),
        (STREAM, 3, "seed is 0 there and 3 here"),
    ],
)
def test_another_run_is_not_gone_on_with(
    memory: Memory, planted: object, folder: Path, stream: Stream, seed: int, named: str
) -> None:
    Run(memory, STREAM, plan("useless"), DATA, folder).execute()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = Run(memory, stream, plan("useless", seed=seed), DATA, folder)
    with pytest.raises(UsageError, match=named):
        other.resume()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_settings_are_chosen_on_the_tuning_stream_and_the_results_say_so(
    memory: Memory, planted: list[Mapping[str, object]]
) -> None:
    tuning = Stream.of(DOCUMENTS[:2], QUESTIONS[:2])
    run = Run(memory, STREAM, plan("perfect", tuning=tuning, tuned_on="0.2"), DATA)
    results = run.execute()
    assert planted == [{"k": 1}, {"k": 2}, {"k": 2}]
    assert results.tuning["split"] == "0.2"
    assert results.tuning["questions"] == 2
    assert results.tuning["chosen"]["perfect"]["settings"] == {"k": 2}
    assert results.methods["perfect"]["options"] == {"k": 2}


def test_given_settings_are_not_tuned(memory: Memory, planted: list[Mapping[str, object]]) -> None:
    tuning = Stream.of(DOCUMENTS[:2], QUESTIONS[:2])
    given = plan("perfect", tuning=tuning, tuned_on="0.2", options={"perfect": {"k": 1}})
    run = Run(memory, STREAM, given, DATA)
    run.execute()
    assert planted == [{"k": 1}]
    assert exact_match(run, "perfect") == [0, 0]


def test_bank_sizes_are_refused_where_the_store_holds_other_documents(memory: Memory) -> None:
    memory.encode(DOCUMENTS[7:])
    with pytest.raises(UsageError, match="holds 3 other documents"):
        Run(memory, STREAM, plan("memory"), DATA)
    Run(memory, Stream.of(DOCUMENTS, QUESTIONS), plan("memory"), DATA).execute()


def test_an_unknown_method_is_named_with_its_nearest(memory: Memory) -> None:
    with pytest.raises(UsageError, match="unknown method 'memry'"):
        Run(memory, STREAM, plan("memry"), DATA)


def test_the_llm_is_loaded_once_however_many_methods_read_it(memory: Memory) -> None:
    with CountedCalls(memory.model, "encode_passages") as calls:
        Run(memory, STREAM, plan("memory", "vectors"), DATA).execute()
    assert calls.count > 2  # both encode with the very same model


def test_the_folder_holds_all_that_was_found(memory: Memory, planted: object, folder: Path) -> None:
    run = Run(memory, STREAM, plan("memory", "useless"), DATA, folder)
    run.execute()
    content = json.loads((folder / RESULTS).read_text())
    assert content == json.loads(json.dumps(run.results.as_json()))
    assert len((folder / PREDICTIONS).read_text().splitlines()) == 2 * (4 + 6)
    header, *rows = (folder / "summary.csv").read_text().splitlines()
    assert len(rows) == 4
    assert header.startswith("method,")
