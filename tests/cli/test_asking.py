"""Line n of the answers belongs to line n of the questions, whatever these hold and whenever they come."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from mbc_cli.cli import output
from mbc_cli.errors import ExitCode
from mbc_cli.memory import Memory
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.read_ahead import ReadAhead
from tests.support.run_mbc import COMMAND, Process, RunMbc, process_environment
from tests.support.tiny_memories import CountedCalls, numbered_documents

TOO_LONG = "word " * 3000


@pytest.fixture
def store(select_memory: Memory, tmp_path: Path) -> Path:
    select_memory.encode(numbered_documents(3))
    return tmp_path / "select.mbc"


@pytest.fixture
def a_word_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The LLM answers on many lines, one of them empty."""
    decode = Tokenizers.decode_answers

    def decoded(self: Tokenizers, token_ids: torch.Tensor) -> list[str]:
        return ["a\n\n" + text.replace(" ", "\u2028\t") for text in decode(self, token_ids)]

    monkeypatch.setattr(Tokenizers, "decode_answers", decoded)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_an_answer_of_many_lines_is_one_line_of_text_and_whole_in_json(
    mbc: RunMbc, store: Path, a_word_a_line: None, stream: str
) -> None:
    asked = b"Who?\nWhere did it rain?\n"
    lines = mbc("query", "-", "--store", store, stream, stdin=asked).out.removesuffix("\n").split("\n")
    whole = mbc("query", "-", "--store", store, "--json", stdin=asked).out.splitlines()
    answers = [json.loads(line)["answer"] for line in whole]
    assert all("\n\n" in answer for answer in answers)
    assert lines == [" ".join(answer.split()) for answer in answers]
    assert mbc("query", "Who?", "--store", store, stream).out == f"{lines[0]}\n"


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_what_cannot_be_asked_leaves_an_empty_line_and_is_named(
    mbc: RunMbc, store: Path, stream: str
) -> None:
    questions = ["", "Who?", "", TOO_LONG, "Where?", "bad \udcff", "Who?", ""]
    asked = "".join(f"{question}\n" for question in questions).encode(errors="surrogateescape")
    result = mbc("query", "-", "--store", store, stream, "--batch-size", "3", stdin=asked)
    assert result.code == ExitCode.SKIPPED_INPUT
    answers = result.out.removesuffix("\n").split("\n")
    assert len(answers) == len(questions)
    assert [bool(answer) for answer in answers] == [q in ("Who?", "Where?") for q in questions]
    named = [line for line in result.err.splitlines() if line.startswith("warning: skipped")]
    assert [line.split()[2] for line in named] == ["stdin:4:", "stdin:6:"]


def test_records_that_cannot_be_asked_leave_empty_lines_too(mbc: RunMbc, store: Path) -> None:
    records = b'{"question": "Who?"}\n{"q": 1}\n{"question": "cut\n\n{"question": "Where?"}\n'
    result = mbc("query", "-", "--store", store, stdin=records)
    assert result.code == ExitCode.SKIPPED_INPUT
    assert [bool(line) for line in result.out.split("\n")[:-1]] == [True, False, False, False, True]
    fatal = mbc("query", "-", "--store", store, "--on-error", "fail", stdin=records)
    assert fatal.code == ExitCode.FAILED
    assert "error: stdin:2: field 'question' is missing" in fatal.err


def test_questions_that_end_with_a_null_byte_may_hold_line_breaks(mbc: RunMbc, store: Path) -> None:
    asked = b'Who\nwas it?\0A\0{"question": "x"}\r\0\nWhere?'
    result = mbc("query", "-", "-0", "--store", store, "--json", stdin=asked)
    assert result.code == 0
    answered = [json.loads(line)["question"] for line in result.out.splitlines()]
    assert answered == ["Who\nwas it?", "A", '{"question": "x"}', "Where?"]
    assert mbc("query", "-", "--null", "--store", store, stdin=asked).out.count("\n") == 4
    assert mbc("query", "Who?", "-0", "--store", store).code == ExitCode.USAGE
    assert mbc("query", "-", "-0", "--format", "csv", "--store", store).code == ExitCode.USAGE


def test_a_file_of_questions_is_answered_in_full_batches(mbc: RunMbc, store: Path) -> None:
    with CountedCalls(Memory, "answer") as answered:
        assert mbc("query", "-", "-s", store, "--batch-size", "4", stdin=b"Who?\n" * 10).code == 0
    assert answered.count == 3


@pytest.mark.slow
def test_a_question_in_a_pipe_is_answered_before_the_next_one_is_asked(store: Path) -> None:
    with Process(
        [*COMMAND, "query", "-", "--store", str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(MBC_DEVICE="cpu"),
    ) as process:
        assert process.stdin
        assert process.stdout
        # What is there together is answered together; what cannot be asked is told at once as well.
        for asked in (b"Who?\n", b"\xff\n", b"Where?\nWho?\n", b"\n", TOO_LONG.encode() + b"\n"):
            process.stdin.write(asked)
            process.stdin.flush()
            answers = [process.stdout.readline() for _ in range(asked.count(b"\n"))]
            assert all(answer.endswith(b"\n") for answer in answers)
            assert [len(answer) > 1 for answer in answers] == [b"?" in line for line in asked.splitlines()]
        process.stdin.close()
        assert process.wait(60) == ExitCode.SKIPPED_INPUT


def test_what_is_read_ahead_comes_in_order_and_its_failure_comes_last() -> None:
    def produce(put: object) -> None:
        assert callable(put)
        for number in range(5):
            put(number)
        raise ValueError("broken")

    arriving: ReadAhead[int] = ReadAhead(produce, most=2)
    assert [next(arriving) for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            next(arriving)


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ([], ""),
        (["  a", "b ", " ", "\nc\n", "\n"], "ab c"),
        (["a", "\u2029", "", "b"], "a b"),
        (["\n", " "], ""),
    ],
)
def test_a_text_in_pieces_is_folded_as_one_in_a_whole_is(pieces: list[str], line: str) -> None:
    assert "".join(output.folded(pieces)) == line == " ".join("".join(pieces).split())


def test_a_search_finds_what_the_api_finds_best_first(mbc: RunMbc, store: Path) -> None:
    asked = b'{"id": 4, "question": "Who?"}\n{"question": "Did it rain?"}\n'
    result = mbc("search", "-", "--store", store, "--top-k", "2", "--json", stdin=asked)
    assert result.code == 0
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line.get("id"), line["question"]) for line in lines] == [(4, "Who?"), (None, "Did it rain?")]
    with Memory.open(store, device="cpu") as memory:
        found = memory.search(["Who?", "Did it rain?"], top_k=2)
    assert [line["sources"] for line in lines] == [[asdict(each) for each in sources] for sources in found]
    for line in lines:
        assert line["sources"][0]["score"] >= line["sources"][1]["score"]


def test_a_search_shows_passages_and_reads_only_what_it_may(mbc: RunMbc, store: Path) -> None:
    shown = mbc("search", "Who?", "--store", store, "--top-k", "1").out.splitlines()
    assert len(shown) == 2
    assert shown[0].startswith("d")
    assert ", passage " in shown[0]
    several = mbc("search", "-", "--store", store, "--top-k", "1", stdin=f"Who?\n\n{TOO_LONG}\n".encode())
    assert several.out.splitlines()[:3] == ["> Who?", *shown]
    nothing = mbc("search", "Who?", "--store", store, "--where", "source=nobody")
    assert (nothing.code, nothing.out) == (0, "")
    assert "is empty" in nothing.err


def test_a_search_writes_no_answer_and_whole_banks_are_not_searched(
    mbc: RunMbc, store: Path, memory: Memory, tmp_path: Path
) -> None:
    with CountedCalls(SelectMemoryModel, "stream") as written:
        assert mbc("search", "Who?", "--store", store).code == 0
    assert written.count == 0
    memory.encode(numbered_documents(2))
    refused = mbc("search", "Who?", "--store", tmp_path / "memory.mbc")
    assert refused.code == ExitCode.FAILED
    assert "cannot rank passages" in refused.err


def test_a_search_tells_telegrams_where_codes_are_tokens(mbc: RunMbc, tmp_path: Path) -> None:
    from tests.support.tiny_memories import save_adapter_directory
    from tests.support.tiny_models import telegram_config

    adapter = save_adapter_directory(tmp_path, make_config=telegram_config)
    bank = tmp_path / "telegrams.mbc"
    with Memory.create(bank, adapter, device="cpu") as memory:
        memory.encode(numbered_documents(2))
    (line,) = mbc("search", "Who?", "--store", bank, "--json").out.splitlines()
    telegrams = [source["telegram"] for source in json.loads(line)["sources"]]
    assert len(telegrams) == 5
    assert all(telegrams)
    text = mbc("search", "Who?", "--store", bank).out
    assert all(" ".join(telegram.split())[:40] in text for telegram in telegrams)
