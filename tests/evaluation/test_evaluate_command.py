"""``mbc evaluate`` as a user runs it: real processes, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_memories import numbered_documents

REPOSITORY = Path(__file__).parents[2]


def mbc(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MBC_")}
    command = [sys.executable, "-m", "mbc_cli", "evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)


@pytest.fixture
def files(tmp_path: Path) -> list[str | Path]:
    documents, questions = tmp_path / "documents.jsonl", tmp_path / "questions.jsonl"
    documents.write_text(
        "".join(json.dumps({"id": each.id, "text": each.text}) + "\n" for each in numbered_documents(6))
    )
    questions.write_text(
        "".join(
            json.dumps({"question": f"Who came to No. {n}?", "answers": ["Mira"], "document_ids": [f"d{n}"]})
            + "\n"
            for n in range(6)
        )
    )
    return ["--documents", documents, "--questions", questions]


@pytest.mark.slow
def test_figures_are_one_json_object_and_predictions_one_line_each(
    files: list[str | Path], adapter_directory: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "predictions.jsonl"

    done = mbc(
        *files, "--adapter", adapter_directory, "--device", "cpu", "--bank-sizes", "2,4",
        "--baseline", "none", "--baseline", "vectors", "--predictions", lines, "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert [stage["documents"] for stage in figures["stages"]] == [2, 4, 6]
    assert figures["stages"][0]["baselines"].keys() == {"none", "vectors"}
    assert len(lines.read_text().splitlines()) == 6


@pytest.mark.slow
def test_filters_choose_the_stream(adapter_directory: Path, tmp_path: Path) -> None:
    documents, questions = tmp_path / "d.jsonl", tmp_path / "q.jsonl"
    lines = [
        {"id": each.id, "text": each.text, "part": number % 3}
        for number, each in enumerate(numbered_documents(7))
    ]
    documents.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = {"question": "Who came?", "answers": ["Mira"], "document_ids": ["d1"]}
    questions.write_text("".join(json.dumps(asked | {"document_ids": [f"d{n}"]}) + "\n" for n in range(7)))
    done = mbc(
        "--documents", documents, "--questions", questions, "--adapter", adapter_directory,
        "--device", "cpu", "--where", "part>=1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (stage,) = json.loads(done.stdout)["stages"]
    assert (stage["documents"], stage["questions"]) == (4, 4)


@pytest.mark.slow
def test_a_table_goes_to_stdout_and_nothing_else(
    files: list[str | Path], select_adapter_directory: Path, tmp_path: Path
) -> None:
    store = tmp_path / "kept.mbc"
    done = mbc(
        *files, "--adapter", select_adapter_directory, "--device", "cpu", "--limit", 3, "--store", store
    )
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert header.split()[:2] == ["documents", "questions"]
    assert row.split()[:2] == ["3", "3"]
    assert "recall@5" in header
    assert store.is_dir()


def test_predictions_replace_no_input_and_nothing_else_unasked(
    files: list[str | Path], tmp_path: Path, select_adapter_directory: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine.txt")
    inputs = [each for each in files if isinstance(each, Path)]
    contents = [each.read_bytes() for each in inputs]
    for target, told in [
        (tmp_path / "mine.txt", "exists already"),
        (tmp_path / "link", "exists already"),
        (tmp_path / "folder", "is a folder"),
        *((each, "would replace an input") for each in inputs),
    ]:
        failed = mbc(*files, "--adapter", "/never/looked/for", "--predictions", target)
        assert failed.returncode in (1, 2)
        assert told in failed.stderr
    for each in inputs:
        forced = mbc(*files, "--adapter", "/never/looked/for", "--predictions", each, "--force")
        assert "would replace an input" in forced.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert [each.read_bytes() for each in inputs] == contents
    forced = mbc(
        *files,
        "--adapter",
        select_adapter_directory,
        "--limit",
        3,
        "--predictions",
        tmp_path / "mine.txt",
        "--force",
    )
    assert forced.returncode == 0, forced.stderr
    assert (tmp_path / "mine.txt").read_text().startswith("{")


def test_a_failed_evaluation_leaves_no_predictions(files: list[str | Path], tmp_path: Path) -> None:
    assert mbc(*files, "--adapter", "/no/such", "--predictions", tmp_path / "p.jsonl").returncode == 1
    assert not (tmp_path / "p.jsonl").exists()


def test_predictions_that_cannot_be_written_are_told_before_the_work(files: list[str | Path]) -> None:
    failed = mbc(*files, "--adapter", "/never/looked/for", "--predictions", "/no/such/folder/answers.jsonl")
    assert failed.returncode == 1
    assert failed.stderr == "error: /no/such/folder/answers.jsonl: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bank-sizes", "16,many"], "16,many"),
        (["--dataset", "squad", "--documents", "missing.json"], "missing.json"),
        (["--documents", "missing.jsonl", "--questions", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(arguments: list[str], message: str) -> None:
    failed = mbc(*arguments)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""
