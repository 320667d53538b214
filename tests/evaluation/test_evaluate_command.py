"""``mbc evaluate`` as a user runs it: real processes, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.tiny_memories import numbered_documents

REPOSITORY = Path(__file__).parents[2]


def mbc(*arguments: str | int | Path) -> subprocess.CompletedProcess[str]:
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
def test_figures_are_one_json_object_and_a_folder_of_files(
    files: list[str | Path], adapter_directory: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"

    done = mbc(
        *files, "--adapter", adapter_directory, "--device", "cpu", "--bank-sizes", "2,4",
        "--methods", "none,memory,vectors", "--output", folder, "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert list(figures["methods"]) == ["none", "memory", "vectors"]
    stages = figures["methods"]["memory"]["stages"]
    assert [stage["documents"] for stage in stages] == [2, 4, 6]
    assert figures == json.loads((folder / "results.json").read_text())
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 3 * (2 + 4 + 6)
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert len((folder / "summary.csv").read_text().splitlines()) == 1 + 3 * 3
    assert "evaluate" in figures["run"]["command"]


@pytest.mark.slow
def test_a_run_goes_on_with_more_methods_and_two_folders_are_compared(
    files: list[str | Path], adapter_directory: Path, tmp_path: Path
) -> None:
    options = [*files, "--adapter", adapter_directory, "--device", "cpu"]
    for folder, seed in (("first", 0), ("second", 1)):
        done = mbc(*options, "-m", "none", "--seed", seed, "-o", tmp_path / folder)
        assert done.returncode == 0, done.stderr
    again = mbc(*options, "-m", "none,memory", "-o", tmp_path / "first")
    assert again.returncode == 1
    assert "exists already" in again.stderr
    other = mbc(*options, "-m", "none,memory", "-o", tmp_path / "second", "--resume")
    assert other.returncode == 2
    assert "seed is 1 there and 0 here" in other.stderr
    resumed = mbc(*options, "-m", "none,memory", "-o", tmp_path / "first", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    figures = json.loads((tmp_path / "first" / "results.json").read_text())
    assert list(figures["methods"]) == ["none", "memory"]
    compared = mbc("compare", tmp_path / "first", tmp_path / "second", "--json")
    assert compared.returncode == 0, compared.stderr
    assert '"none"' in compared.stdout


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
        "--device", "cpu", "--where", "part>=1", "-m", "memory", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (stage,) = json.loads(done.stdout)["methods"]["memory"]["stages"]
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
    header, *rows = done.stdout.splitlines()
    assert "recall@1" in header
    assert [row.split()[0] for row in rows] == ["no", "memory"]
    assert store.is_dir()


@pytest.mark.slow
def test_interrupted_it_keeps_the_methods_that_are_done_and_says_how_to_go_on(
    files: list[str | Path], adapter_directory: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    waits = "import mbc_cli.evaluation.methods.memory as m; import time\n"
    waits += "m.MemoryMethod.encode = lambda *a, **k: time.sleep(60)\n"
    code = f"{waits}from mbc_cli.cli.app import console; console()"
    arguments = [*files, "--adapter", adapter_directory, "-m", "none,memory", "-o", folder]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "evaluate", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (folder / "report.html").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-2:] == [
        f"what was done is in {folder}, and --resume goes on",
        "interrupted",
    ]
    assert list(json.loads((folder / "results.json").read_text())["methods"]) == ["none"]


def test_results_replace_no_input_and_nothing_else_unasked(files: list[str | Path], tmp_path: Path) -> None:
    documents = tmp_path / "documents.jsonl"
    inside = tmp_path / "predictions.jsonl"
    documents.rename(inside)
    before = inside.read_bytes()
    named = ["--documents", inside, *files[2:]]
    for more in ([], ["--force"], ["--resume"]):
        failed = mbc(*named, "--adapter", "/never/looked/for", "-o", tmp_path, *more)
        assert failed.returncode == 2
        assert "would replace an input" in failed.stderr
    assert inside.read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "results.json").write_text("mine")
    failed = mbc(*named, "--adapter", "/never/looked/for", "-o", tmp_path / "mine")
    assert failed.returncode == 1
    assert "exists already" in failed.stderr
    assert (tmp_path / "mine" / "results.json").read_text() == "mine"


def test_a_failed_evaluation_leaves_no_results(files: list[str | Path], tmp_path: Path) -> None:
    assert mbc(*files, "--adapter", "/no/such", "-o", tmp_path / "results").returncode == 1
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bank-sizes", "16,many"], "16,many"),
        (["--dataset", "squad", "--documents", "missing.json"], "missing.json"),
        (["--documents", "missing.jsonl", "--questions", "missing.jsonl"], "missing.jsonl"),
        (["--resume"], "name it with --output"),
        (["-o", "/no/such/folder/results"], "/no/such/folder/results"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(arguments: list[str], message: str) -> None:
    failed = mbc(*arguments)
    assert failed.returncode in (1, 2)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-m", "memry"], "--methods received 'memry'"),
        (["--protocols", "retain"], "--protocols received 'retain'"),
        (["--set", "memory"], "accepted: name.key=value"),
        (["--set", "nothing.k=2"], "there is no method or protocol 'nothing'"),
        (["--tune", "1.5"], "a share between 0 and 1"),
    ],
)
def test_wrong_options_are_told_with_what_is_accepted(
    files: list[str | Path], options: list[str], message: str
) -> None:
    failed = mbc(*files, "--adapter", "/never/looked/for", *options)
    assert failed.returncode == 2
    assert message in failed.stderr
