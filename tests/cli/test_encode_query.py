"""``mbc encode`` and ``mbc query`` on real adapters and stores: what goes in, comes out, and is said."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mbc_store import MemoryStore

from mbc_cli.errors import ExitCode
from mbc_cli.memory import Memory
from tests.support.run_mbc import COMMAND, Process, RunMbc, process_environment, run_process
from tests.support.tiny_memories import CountedCalls, numbered_documents

DOCUMENTS = [
    {
        "id": "museum",
        "text": "Mira Okafor opened the museum in Lindholm.",
        "title": "Museum",
        "source": "gazette",
    },
    {
        "id": "council",
        "text": "The council elected Jonas Weil.",
        "timestamp": "2026-05-01",
        "source": "council",
    },
    {"id": "ferry", "text": "Ada Brandt took over the ferry. " * 40},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "news.mbc"


@pytest.fixture
def filled(mbc: RunMbc, corpus: Path, store: Path, select_adapter_directory: Path) -> Path:
    """A store with the three documents, read by selection."""
    assert mbc("encode", corpus, "--store", store, "--adapter", select_adapter_directory, "--quiet").code == 0
    return store


def stored_ids(store: Path) -> set[str]:
    with MemoryStore.open(store).snapshot() as snapshot:
        return {document.id for document in snapshot.documents()}


def summary(mbc: RunMbc, *arguments: str | Path) -> dict[str, Any]:
    return dict(json.loads(mbc("encode", *arguments, "--json").out))


def test_encoding_again_does_nothing_and_changed_text_replaces(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    first = summary(mbc, corpus, "--store", store, "--adapter", adapter_directory)
    assert (first["added"], first["skipped"]) == (3, 0)
    again = summary(mbc, corpus, "--store", store)
    assert (again["added"], again["unchanged"], again["commits"]) == (0, 3, 0)
    corpus.write_text(corpus.read_text().replace("Mira", "Ada"))
    changed = summary(mbc, corpus, "--store", store)
    assert (changed["replaced"], changed["unchanged"]) == (1, 2)


def test_bad_input_is_named_the_rest_is_stored_and_the_exit_code_is_3(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    with corpus.open("a") as file:
        file.write('{"id": "cut\n{"id": "last", "text": "The end."}\n')
    result = mbc("encode", corpus, "--store", store, "--adapter", adapter_directory)
    assert result.code == ExitCode.SKIPPED_INPUT
    assert f"warning: skipped {corpus}:4: malformed JSON" in result.err
    assert "1 piece of input skipped" in result.err
    assert stored_ids(store) == {"museum", "council", "ferry", "last"}


def test_fail_stops_with_one_line_and_keeps_what_was_stored(mbc: RunMbc, corpus: Path, filled: Path) -> None:
    corpus.write_text('{"id": "new", "text": "New."}\n{"id": "cut\n')
    result = mbc("encode", corpus, "--store", filled, "--on-error", "fail")
    assert result.code == ExitCode.FAILED
    assert f"error: {corpus}:2: malformed JSON" in result.err
    assert {"museum", "council", "ferry"} <= stored_ids(filled)


def test_fail_on_the_first_documents_leaves_no_empty_store_behind(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    corpus.write_text('{"id": "new", "text": "New."}\n{"id": "cut\n')
    result = mbc("encode", corpus, "--store", store, "--adapter", adapter_directory, "--on-error", "fail")
    assert result.code == ExitCode.FAILED
    assert f"error: {corpus}:2: malformed JSON" in result.err
    assert not store.exists()


@pytest.mark.parametrize("content", ["", "\n\n", '{"id": "a"}\n'])
def test_an_input_without_a_usable_document_makes_no_store(
    content: str, mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    corpus.write_text(content)
    result = mbc("encode", corpus, "--store", store, "--adapter", adapter_directory)
    assert result.code == ExitCode.FAILED
    assert "error: the input holds no document that can be used" in result.err
    assert not store.exists()


def test_of_equal_ids_the_later_record_counts_across_files_and_runs(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path, tmp_path: Path
) -> None:
    later = tmp_path / "later.csv"
    corpus.write_text('{"id": "a", "text": "Old."}\n{"id": "b", "text": "Kept."}\n')
    later.write_text("id;text\na;New.\n")
    options = ("--store", store, "--adapter", adapter_directory, "--json")
    for sources in ((corpus,), (corpus, later), (corpus, later)):
        result = mbc("encode", *sources, *options, "--commit-every", 1)
        assert result.code == 0
        assert json.loads(result.out)["duplicates"] == len(sources) - 1
    with MemoryStore.open(store).snapshot() as snapshot:
        assert {document.id: document.text for document in snapshot.iter_documents()} == {
            "a": "New.",
            "b": "Kept.",
        }


def test_a_store_that_cannot_be_created_says_so_and_why(
    mbc: RunMbc, corpus: Path, adapter_directory: Path
) -> None:
    result = mbc("encode", corpus, "--store", corpus / "store", "--adapter", adapter_directory)
    assert result.code == ExitCode.FAILED
    assert f"error: no store can be created at {corpus}/store: Not a directory" in result.err


def test_many_bad_lines_are_counted_but_not_all_named(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    with corpus.open("a") as file:
        file.write("{}\n" * 50)
    result = mbc("encode", corpus, "--store", store, "--adapter", adapter_directory)
    assert result.err.count("warning: skipped") == 20
    assert "50 pieces of input skipped" in result.err
    assert mbc("encode", corpus, "--store", store, "--verbose").err.count("warning: skipped") == 50
    assert "warning" not in mbc("encode", corpus, "--store", store, "--quiet").err


def test_sentences_on_stdin_are_documents(mbc: RunMbc, store: Path, adapter_directory: Path) -> None:
    typed = b"Mira opened the museum.\nJonas closed it.\n"
    assert mbc("encode", "-", "--store", store, "--adapter", adapter_directory, stdin=typed).code == 0
    assert "0 added, 0 replaced, 2 unchanged" in mbc("encode", "-", "--store", store, stdin=typed).out


def test_an_export_is_encoded_as_the_documents_it_was_made_of(
    mbc: RunMbc, corpus: Path, filled: Path, tmp_path: Path, select_adapter_directory: Path
) -> None:
    assert mbc("memory", "export", tmp_path / "export", "--store", filled).code == 0
    exported = tmp_path / "export" / "documents.jsonl"
    counts = summary(mbc, exported, "--store", filled)
    assert (counts["added"], counts["replaced"], counts["unchanged"]) == (0, 0, 3)
    another = tmp_path / "another.mbc"
    assert summary(mbc, exported, "--store", another, "--adapter", select_adapter_directory)["added"] == 3

    def documents(store: Path) -> list[Any]:
        with MemoryStore.open(store).snapshot() as snapshot:
            records = [snapshot.record(each.id) for each in snapshot.iter_documents()]
            return [(r.id, r.text, r.title, r.timestamp, dict(r.metadata), r.digest) for r in records]

    assert documents(another) == documents(filled)


def test_a_digest_and_spans_of_ones_own_are_metadata(
    mbc: RunMbc, tmp_path: Path, store: Path, adapter_directory: Path
) -> None:
    lines = [{"id": "a", "text": "t", "digest": "short"}, {"id": "b", "text": "t", "spans": [[0, 1]]}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert mbc("encode", tmp_path / "d.jsonl", "--store", store, "--adapter", adapter_directory).code == 0
    with MemoryStore.open(store).snapshot() as snapshot:
        assert dict(snapshot.record("a").metadata) == {"digest": "short"}
        assert dict(snapshot.record("b").metadata) == {"spans": [[0, 1]]}


def test_the_window_decides_how_many_passages_there_are(
    mbc: RunMbc, corpus: Path, tmp_path: Path, adapter_directory: Path
) -> None:
    counts = [
        summary(
            mbc,
            corpus,
            "--store",
            tmp_path / f"{window}.mbc",
            "--adapter",
            adapter_directory,
            "--window",
            str(window),
        )["passages"]
        for window in (4, 8)
    ]
    assert counts[0] > 1.5 * counts[1]


@pytest.mark.parametrize("windows", [("--window", "100000"), ("--overlap", "5000")])
def test_windows_that_do_not_fit_the_adapter_leave_no_empty_store_behind(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path, windows: tuple[str, str]
) -> None:
    result = mbc("encode", corpus, "--store", store, "--adapter", adapter_directory, *windows)
    assert result.code == ExitCode.USAGE
    assert f"error: {windows[0][2:]} is {windows[1]} tokens" in result.err
    assert not store.exists()


def test_text_is_kept_unless_told_otherwise(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    mbc("encode", corpus, "--store", store, "--adapter", adapter_directory, "--no-keep-text")
    with MemoryStore.open(store).snapshot() as snapshot:
        assert snapshot.document("museum").text is None
    assert mbc("encode", corpus, "--store", store, "--keep-text").code == ExitCode.USAGE


def test_a_wrong_path_is_told_before_a_store_is_made(mbc: RunMbc, store: Path) -> None:
    assert mbc("encode", "missing.jsonl", "--store", store).code == ExitCode.USAGE
    assert not store.exists()


def test_files_of_a_folder_that_are_not_read_are_counted_and_one_is_named(
    mbc: RunMbc, store: Path, tmp_path: Path, adapter_directory: Path
) -> None:
    folder = tmp_path / "archive"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("Mira Okafor opened the museum.")
    for name in ("b.rtf", "inner/c.json"):
        (folder / name).write_text("{}")
    done = mbc("encode", folder, "--store", store, "--adapter", adapter_directory)
    assert done.code == 0
    assert f"not read: 2, such as {folder}/b.rtf" in done.err
    assert stored_ids(store) == {f"{folder}/a.txt"}


def test_answers_are_lines_in_the_order_of_the_questions(mbc: RunMbc, filled: Path) -> None:
    questions = ["Who opened the museum?", "Whom did the council elect?", "Who opened the museum?"]
    together = mbc("query", *questions, "--store", filled)
    assert together.code == 0
    answers = together.out.removesuffix("\n").split("\n")
    assert len(answers) == 3
    assert answers[0] == answers[2]
    assert mbc("query", questions[1], "--store", filled).out == answers[1] + "\n"


def test_streamed_text_is_the_same_answer(mbc: RunMbc, filled: Path) -> None:
    arguments = ("query", "Who opened the museum?", "--store", filled)
    assert mbc(*arguments, "--stream").out.strip() == mbc(*arguments, "--no-stream").out.strip()


def test_json_names_the_sources_with_their_spans(mbc: RunMbc, filled: Path) -> None:
    result = mbc("query", "Who opened the museum?", "--store", filled, "--top-k", "2", "--json")
    answer = json.loads(result.out)
    assert answer["from_memory"] is True
    assert len(answer["sources"]) == 2
    texts = {document["id"]: document["text"] for document in DOCUMENTS}
    for source in answer["sources"]:
        assert texts[source["document_id"]][source["start"] : source["end"]] == source["text"]


def test_sources_are_shown_beneath_the_answer(mbc: RunMbc, filled: Path) -> None:
    result = mbc(
        "query", "Who opened the museum?", "--store", filled, "--where", "source=gazette", "--sources"
    )
    assert "    museum 'Museum', passage 0 (0-" in result.out


def test_questions_from_stdin_are_lines_or_jsonl_with_their_ids(mbc: RunMbc, filled: Path) -> None:
    lines = mbc("query", "-", "--store", filled, "--json", stdin=b"Who?\n\nWhere?\n").out.splitlines()
    assert [json.loads(line)["question"] for line in lines] == ["Who?", "Where?"]
    records = b'{"id": 7, "question": "Who?"}\n{"q": 1}\n{"question": "Where?"}\n'
    result = mbc("query", "-", "--store", filled, "--json", stdin=records)
    assert result.code == ExitCode.SKIPPED_INPUT
    assert "stdin:2: field 'question' is missing" in result.err
    assert [json.loads(line).get("id") for line in result.out.splitlines()] == [7, None]


def test_what_is_not_in_memory_is_marked_or_withheld(mbc: RunMbc, filled: Path) -> None:
    arguments = ("query", "Who?", "--store", filled, "--where", "source=nobody")
    answered = mbc(*arguments)
    assert answered.code == 0
    assert "not in memory" in answered.err
    withheld = mbc(*arguments, "--require-memory", "--json")
    assert withheld.code == ExitCode.NOT_IN_MEMORY
    assert json.loads(withheld.out) == {
        "question": "Who?",
        "answer": None,
        "sources": [],
        "from_memory": False,
        "abstained": True,
        "score": None,
        "relevance": None,
        "confidence": None,
    }


def test_time_filters_read_only_what_they_name(mbc: RunMbc, filled: Path) -> None:
    def read(*filters: str) -> list[str]:
        result = mbc("query", "Who?", "--store", filled, "--json", "--top-k", "9", *filters)
        return [source["document_id"] for source in json.loads(result.out)["sources"]]

    assert read("--since", "2026-05-01") == ["council"]
    assert read("--since", "2026-05-02") == []
    assert mbc("query", "Who?", "--store", filled, "--since", "soon").code == ExitCode.USAGE


def test_a_whole_bank_adapter_says_that_it_names_no_sources(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    mbc("encode", corpus, "--store", store, "--adapter", adapter_directory)
    assert "name no sources" in mbc("query", "Who?", "--store", store, "--sources").err


def test_a_store_that_lost_its_head_is_neither_missing_nor_made_anew(
    mbc: RunMbc, corpus: Path, store: Path, adapter_directory: Path
) -> None:
    assert mbc("encode", corpus, "--store", store, "--adapter", adapter_directory).code == 0
    shutil.rmtree(store / "icechunk" / "refs")
    for command in (["query", "Who?"], ["encode", corpus, "--adapter", adapter_directory]):
        result = mbc(*command, "--store", store)
        assert result.code == ExitCode.FAILED
        assert f"error: the store {store} has lost its head" in result.err
        assert "`mbc memory repair`" in result.err


def test_another_adapter_than_the_stores_is_one_clear_error(
    mbc: RunMbc, filled: Path, adapter_directory: Path
) -> None:
    result = mbc("query", "Who?", "--store", filled, "--adapter", adapter_directory)
    assert result.code == ExitCode.FAILED
    assert "was made with adapter" in result.err
    assert "hint: " in result.err


@pytest.mark.parametrize(
    "arguments", [["Who?", "-"], [""], ["Who?", "--stream", "--json"], ["Who?", "--where", "x"]]
)
def test_questions_that_make_no_sense_are_usage_errors(
    mbc: RunMbc, store: Path, arguments: list[str]
) -> None:
    assert mbc("query", *arguments, "--store", store).code == ExitCode.USAGE


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_command_quietly(filled: Path) -> None:
    with Process(
        [*COMMAND, "query", "-", "--store", str(filled), "--json", "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(),
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"Who?\n" * 50)
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.slow
def test_the_first_answer_comes_before_the_last_question(filled: Path) -> None:
    with Process(
        [*COMMAND, "query", "-", "--store", str(filled), "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=process_environment(),
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"Who?\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_an_interrupted_encode_keeps_what_it_has_read_and_goes_on_when_run_again(
    store: Path, adapter_directory: Path, mbc: RunMbc
) -> None:
    def committed() -> set[str]:
        return stored_ids(store) if MemoryStore.exists(store) else set()

    lines = [json.dumps({"id": f"d{number}", "text": f"Text {number}."}) + "\n" for number in range(6)]
    arguments = ["--store", str(store), "--adapter", str(adapter_directory), "--commit-every", "2"]
    with Process(
        [*COMMAND, "encode", "-", "--format", "jsonl", *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(),
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write("".join(lines[:5]).encode())
        process.stdin.flush()
        wait_until(lambda: len(committed()) == 4)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(60) == ExitCode.INTERRUPTED
    assert said.splitlines()[-1] == "interrupted"
    assert committed() == {"d0", "d1", "d2", "d3", "d4"}
    again = mbc("encode", "-", "--store", store, stdin="".join(lines).encode())
    assert "1 added, 0 replaced, 5 unchanged" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pipe_that_stays_open_is_stored_after_a_while_and_when_it_is_interrupted(
    store: Path, adapter_directory: Path, number: signal.Signals
) -> None:
    def committed() -> set[str]:
        return stored_ids(store) if MemoryStore.exists(store) else set()

    options = ["--store", str(store), "--adapter", str(adapter_directory), "--device", "cpu"]
    with Process(
        [*COMMAND, "encode", "-", "--format", "jsonl", "--commit-seconds", "0.5", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(),
    ) as process:
        assert process.stdin
        assert process.stderr

        def arrive(first: int, last: int) -> None:
            assert process.stdin
            for each in range(first, last):
                process.stdin.write(json.dumps({"id": f"d{each}", "text": f"Text {each}."}).encode() + b"\n")
            process.stdin.flush()

        arrive(0, 1)
        wait_until(lambda: committed() == {"d0"})
        arrive(1, 4)
        wait_until(lambda: committed() == {"d0", "d1", "d2", "d3"})
        arrive(4, 90)
        time.sleep(0.2)
        process.send_signal(number)
        said = process.stderr.read().decode()
        assert process.wait(60) == 128 + number
    assert "90 documents are stored" in said
    assert committed() == {f"d{each}" for each in range(90)}


def test_a_pipe_that_fails_has_its_documents_stored_before(
    mbc: RunMbc, store: Path, adapter_directory: Path
) -> None:
    lines = b'{"id": "a", "text": "Mira."}\n{"id": "b", "text": "Jonas."}\n{"id": "cut\n{"id": "c"}\n'
    result = mbc(
        "encode", "-", "--on-error", "fail", "--store", store, "--adapter", adapter_directory, stdin=lines
    )
    assert result.code == ExitCode.FAILED
    assert stored_ids(store) == {"a", "b"}


@pytest.mark.slow
def test_a_bar_is_drawn_only_on_a_terminal(corpus: Path, tmp_path: Path, adapter_directory: Path) -> None:
    arguments = ["encode", str(corpus), "--adapter", str(adapter_directory), "--commit-every", "1"]
    reader, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--store", str(tmp_path / "terminal.mbc")],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=process_environment(TERM="xterm"),
    )
    os.close(terminal)
    drawn = b""
    try:
        while piece := os.read(reader, 65536):
            drawn += piece
    except OSError:  # Linux ends a terminal so when its other side closes
        pass
    out, _ = process.communicate(timeout=60)
    assert b"encoding" in drawn
    assert b"documents/s" in drawn
    assert b"\x1b" not in out
    piped = run_process(*arguments, "--store", tmp_path / "piped.mbc")
    assert "encoding" not in piped.err
    assert "\x1b" not in piped.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "CORPUS"],
        ["query", "Who opened the museum?"],
        ["query", "Who opened the museum?", "--at", "2999-01-01"],
        ["memory", "list"],
        ["memory", "forget", "d1", "--yes"],
        ["memory", "show", "d2"],
        ["memory", "info"],
        ["evaluate", "--documents", "CORPUS", "--questions", "QUESTIONS"],
    ],
    ids=" ".join,
)
def test_a_command_opens_its_store_once(
    mbc: RunMbc, memory: Memory, tmp_path: Path, arguments: list[str]
) -> None:
    memory.encode(numbered_documents(3))
    files = {"CORPUS": tmp_path / "corpus.jsonl", "QUESTIONS": tmp_path / "questions.jsonl"}
    files["CORPUS"].write_text(json.dumps({"id": "d9", "text": "Jonas Weil stepped down."}))
    files["QUESTIONS"].write_text(json.dumps({"id": "q", "question": "Who?", "answers": ["Jonas Weil"]}))
    with CountedCalls(MemoryStore, "open") as opened:
        done = mbc(*(files.get(each, each) for each in arguments), "--store", tmp_path / "memory.mbc")
    assert (done.code, opened.count) == (0, 1), done.err
