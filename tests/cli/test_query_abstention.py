"""``mbc query`` where nothing in memory speaks to the question, and ``mbc adapter calibrate``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import ExitCode
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import read_description
from tests.support.calibrated_memories import CALIBRATION_SEED, TEST_SEED, people, save_calibrated_adapter
from tests.support.run_mbc import RunMbc, run_process

DOCUMENTS, QUESTIONS = people(40, TEST_SEED)
IN_MEMORY, NOT_IN_MEMORY = 30, 10


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_calibrated_adapter(tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="module")
def store(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory of the first 30 people; nobody has heard of the last 10."""
    place = tmp_path_factory.mktemp("bank") / "people.mbc"
    Memory.create(place, adapter, device="cpu").encode(DOCUMENTS[:IN_MEMORY])
    return place


def known(store: Path, mbc: RunMbc) -> str:
    """A question that the memory speaks to."""
    return told(store, mbc, QUESTIONS[:IN_MEMORY], from_memory=True)


def unknown(store: Path, mbc: RunMbc) -> str:
    """A question that nothing in memory speaks to."""
    return told(store, mbc, QUESTIONS[IN_MEMORY:], from_memory=False)


def told(store: Path, mbc: RunMbc, questions: list[Question], *, from_memory: bool) -> str:
    asked = "".join(f"{question.question}\n" for question in questions).encode()
    answers = [
        json.loads(line) for line in mbc("query", "-", "-s", store, "--json", stdin=asked).out.splitlines()
    ]
    assert sum(answer["from_memory"] is from_memory for answer in answers) >= 0.8 * len(answers)
    return next(str(a["question"]) for a in answers if a["from_memory"] is from_memory)


def test_the_untouched_llm_answers_what_is_not_in_memory_and_stderr_says_so(mbc: RunMbc, store: Path) -> None:
    question = unknown(store, mbc)
    result = mbc("query", question, "--store", store, "--sources")
    assert result.code == 0
    said = [line for line in result.err.splitlines() if "memory" in line]
    assert said == [f"not in memory: the LLM answers without it ({question})"]
    asked = mbc("query", question, "--store", store, "--threshold", "0", "--sources")
    assert "not in memory" not in asked.err
    assert "    5-" in asked.out  # a source
    assert "    5-" not in result.out
    assert mbc("query", question, "--store", store, "--stream").out == result.out
    assert "not in memory" not in mbc("query", known(store, mbc), "--store", store).err


@pytest.mark.slow
def test_requiring_memory_withholds_the_answer_and_the_process_exits_with_4(mbc: RunMbc, store: Path) -> None:
    question = unknown(store, mbc)
    for stream in ("--stream", "--no-stream"):
        result = run_process(
            "query", question, "--store", store, "--require-memory", stream, MBC_DEVICE="cpu"
        )
        assert (result.code, result.out) == (ExitCode.NOT_IN_MEMORY, "")
        assert result.err.splitlines() == [f"not in memory: no answer is given ({question})"]
    there = run_process("query", known(store, mbc), "--store", store, "--require-memory")
    assert (there.code, there.err) == (0, "")
    assert there.out.strip()


@pytest.mark.slow
def test_one_abstention_among_many_answers_keeps_the_lines_in_order_and_exits_with_4(
    mbc: RunMbc, store: Path
) -> None:
    there, missing = known(store, mbc), unknown(store, mbc)
    options = ("--store", store, "--top-k", "1")
    alone = mbc("query", there, *options).out
    asked = f"{there}\n{missing}\n{there}\n".encode()
    result = run_process("query", "-", *options, "--require-memory", stdin=asked)
    assert result.code == ExitCode.NOT_IN_MEMORY
    assert result.out == f"{alone}\n{alone}"


def test_json_says_what_was_not_in_memory_and_how_sure_it_is(mbc: RunMbc, store: Path) -> None:
    there, missing = known(store, mbc), unknown(store, mbc)
    result = mbc("query", there, missing, "--store", store, "--require-memory", "--json")
    assert result.code == ExitCode.NOT_IN_MEMORY
    given, withheld = (json.loads(line) for line in result.out.splitlines())
    assert (given["from_memory"], given["abstained"]) == (True, False)
    assert given["relevance"] > 0.5 > withheld["relevance"]
    assert given["score"] == given["sources"][0]["score"] > withheld["score"]
    assert withheld == {
        "question": missing,
        "answer": None,
        "sources": [],
        "from_memory": False,
        "abstained": True,
        "score": withheld["score"],
        "relevance": withheld["relevance"],
        "confidence": withheld["confidence"],
    }
    fallen_back = json.loads(mbc("query", missing, "--store", store, "--json").out)
    assert (fallen_back["from_memory"], fallen_back["abstained"]) == (False, False)
    assert isinstance(fallen_back["answer"], str)


def test_the_threshold_moves_the_line(mbc: RunMbc, store: Path) -> None:
    question = known(store, mbc)
    sure = json.loads(mbc("query", question, "--store", store, "--json").out)["relevance"]
    assert mbc("query", question, "-s", store, "--require-memory", "--threshold", str(sure - 1e-6)).code == 0
    above = mbc("query", question, "-s", store, "--require-memory", "--threshold", str((1 + sure) / 2))
    assert above.code == ExitCode.NOT_IN_MEMORY
    assert mbc("query", question, "-s", store, "--threshold", "1.5").code == ExitCode.USAGE


def test_a_threshold_needs_a_calibrated_adapter(
    mbc: RunMbc, select_adapter_directory: Path, tmp_path: Path
) -> None:
    bank = tmp_path / "bank.mbc"
    mbc("encode", "-", "-s", bank, "-a", select_adapter_directory, stdin=b"Mira went to Tarn.")
    refused = mbc("query", "Who?", "--store", bank, "--threshold", "0.5")
    assert refused.code == ExitCode.FAILED
    assert "mbc adapter calibrate" in refused.err
    answered = json.loads(mbc("query", "Who?", "--store", bank, "--threshold", "0", "--json").out)
    assert answered["from_memory"] is True
    assert answered["confidence"] is None


def write_people(directory: Path, count: int) -> tuple[Path, Path]:
    documents, questions = people(count, CALIBRATION_SEED)
    texts, asked = directory / "docs.jsonl", directory / "questions.jsonl"
    texts.write_text("".join(json.dumps({"id": d.id, "text": d.text}) + "\n" for d in documents))
    lines = [
        {"question": q.question, "answers": list(q.answers), "document_ids": list(q.document_ids)}
        for q in questions
    ]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return texts, asked


def test_an_adapter_is_calibrated_again_by_a_command_and_its_stores_go_on(
    mbc: RunMbc, adapter: Path, store: Path, tmp_path: Path
) -> None:
    question = known(store, mbc)
    copy, bank = tmp_path / "adapter", tmp_path / "bank.mbc"
    shutil.copytree(adapter, copy)
    shutil.copytree(store, bank)
    texts, asked = write_people(tmp_path, 70)
    options = ("--documents", texts, "--questions", asked, "--device", "cpu")

    done = mbc("adapter", "calibrate", copy, *options, "--threshold", "1", "--json")

    assert done.code == 0
    recorded = read_description(copy)["calibration"]
    assert json.loads(done.out) == {"adapter": str(copy), **recorded.model_dump()}
    assert recorded.held_out_passages == 35
    assert json.loads(mbc("adapter", "info", copy, "--json").out)["calibration"] == recorded.model_dump()
    again = mbc("query", question, "--store", bank, "--adapter", copy, "--require-memory")
    assert again.code == ExitCode.NOT_IN_MEMORY  # the threshold is certainty now
    assert "false answers" in mbc("adapter", "calibrate", copy, *options).out
    assert mbc("query", question, "--store", bank, "--adapter", copy, "--require-memory").code == 0


def test_what_cannot_be_calibrated_is_refused_in_a_line_and_left_as_it_was(
    mbc: RunMbc, adapter: Path, adapter_directory: Path, tmp_path: Path
) -> None:
    texts, asked = write_people(tmp_path, 8)
    before = (adapter / "config.yaml").read_text()
    few = mbc("adapter", "calibrate", adapter, "--documents", texts, "--questions", asked)
    assert few.code == ExitCode.FAILED
    assert "8 questions about 8 documents tell nothing" in few.err
    assert (adapter / "config.yaml").read_text() == before
    whole = mbc("adapter", "calibrate", adapter_directory, "--documents", texts, "--questions", asked)
    assert whole.code == ExitCode.FAILED
    assert "whole-bank" in whole.err


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_what_is_not_in_memory_is_an_answer_of_one_line_unless_the_llm_shall_answer(
    mbc: RunMbc, store: Path, stream: str
) -> None:
    there, missing = known(store, mbc), unknown(store, mbc)
    asked = f"{missing}\n{there}\n".encode()
    options = ("--store", store, stream)
    alone = mbc("query", there, *options).out
    withheld = mbc("query", "-", *options, "--no-fallback", stdin=asked)
    assert (withheld.code, withheld.out) == (0, f"not in memory\n{alone}")
    assert "not in memory" not in withheld.err
    assert mbc("query", missing, *options, "--no-fallback").out == "not in memory\n"
    answered = mbc("query", missing, *options, "--fallback")
    assert (answered.code, answered.out) == (0, mbc("query", missing, *options).out)
    assert mbc("query", missing, *options, "--require-memory", "--fallback").code == ExitCode.NOT_IN_MEMORY


def test_the_adapter_says_whether_the_llm_answers_what_is_not_in_memory(
    mbc: RunMbc, adapter: Path, store: Path, tmp_path: Path
) -> None:
    missing = unknown(store, mbc)
    copy, bank = tmp_path / "adapter", tmp_path / "bank.mbc"
    shutil.copytree(adapter, copy)
    shutil.copytree(store, bank)
    texts, asked = write_people(tmp_path, 70)
    options = ("--documents", texts, "--questions", asked, "--device", "cpu", "--no-fallback")
    assert "the LLM answers nothing else" in mbc("adapter", "calibrate", copy, *options).out
    options = ("--store", bank, "--adapter", copy, "--json")
    withheld = json.loads(mbc("query", missing, *options).out)
    assert (withheld["answer"], withheld["abstained"]) == (None, True)
    answered = json.loads(mbc("query", missing, *options, "--fallback").out)
    assert (answered["abstained"], answered["from_memory"]) == (False, False)
    assert isinstance(answered["answer"], str)


def test_the_habit_holds_in_python_too_and_requiring_memory_goes_before_it(mbc: RunMbc, store: Path) -> None:
    missing = unknown(store, mbc)
    with Memory.open(store, device="cpu") as memory:

        def abstained(**options: bool | None) -> bool:
            (answer,) = memory.answer([missing], **options)
            assert memory.stream(missing, **options).answer == answer
            return answer.abstained

        assert not abstained()
        assert not abstained(fallback=True)
        assert abstained(fallback=False)
        assert abstained(fallback=True, require_memory=True)
        assert memory.calibration is not None
        memory.calibration = memory.calibration.model_copy(update={"fallback": False})
        assert abstained()
        assert not abstained(fallback=True)


def test_the_adapter_news_does_not_ask_its_llm_what_is_not_in_memory(mbc: RunMbc, tmp_path: Path) -> None:
    bank = tmp_path / "news.mbc"
    text = b"Mira Okafor opened the harbour museum in Lindholm."
    assert mbc("encode", "-", "--store", bank, "--adapter", "news", "--device", "cpu", stdin=text).code == 0
    question = "Which prize went to Tove Sandgren?"
    result = mbc("query", question, "--store", bank, "--device", "cpu")
    assert (result.code, result.out) == (0, "not in memory\n")
    assert mbc("query", question, "--store", bank, "--fallback").out != "not in memory\n"
