"""The adapter `news`: it must answer from memory, be small, and be what its own script makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mbc_cli
from mbc_cli.model.adapter import load_adapter, read_description
from mbc_cli.model.llm.architectures import model_config

ROOT = Path(mbc_cli.__file__).parent.parent
NEWS = Path(mbc_cli.__file__).parent / "default_adapters" / "news"


def run(*command: str, stdin: str = "") -> str:
    finished = subprocess.run(
        [sys.executable, *command], input=stdin, capture_output=True, text=True, timeout=600, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def architecture(language_model: Path) -> dict[str, Any]:
    settings = model_config(str(language_model)).to_dict()
    del settings["_name_or_path"]  # where it was read from
    return settings


@pytest.mark.slow
def test_the_demo_answers_most_questions_with_the_bank_and_none_without() -> None:
    shown = json.loads(
        run(
            "-m",
            "mbc_cli",
            "demo",
            "--adapter",
            "news",
            "--documents",
            "150",
            "--questions",
            "60",
            "--json",
            "--seed",
            "31",
        )
    )
    measures = shown["memory"]["measures"]
    assert measures["exact_match"]["value"] > 0.5
    assert shown["none"]["measures"]["exact_match"]["value"] <= 0.03
    assert measures["recall_at_1"]["value"] > 0.9
    assert shown["bytes"]["bank"] < shown["bytes"]["vectors_float32"] / 100
    assert shown["absent"]["questions"] == 100
    assert shown["absent"]["recognised"] > 85
    assert measures["false_abstentions"]["value"] < 0.1


@pytest.mark.slow
def test_the_demo_as_text_shows_a_number_under_every_heading() -> None:
    lines = run("-m", "mbc_cli", "demo", "-a", "news", "--documents", "60", "--questions", "10").splitlines()
    heading = next(n for n, line in enumerate(lines) if line.startswith("answered right"))
    assert lines[heading].split("  ")[0] == "answered right"
    assert lines[heading].split()[2:] == ["questions", "of", "percent"]
    assert lines[heading + 1].split()[:2] == ["with", "memory"]
    assert len(lines[heading + 1].split()[2:]) == 3


@pytest.mark.slow
def test_a_corpus_is_encoded_and_asked_with_the_adapter_news_and_names_its_sources(tmp_path: Path) -> None:
    store = str(tmp_path / "news.store")
    documents = [json.loads(line) for line in (ROOT / "examples" / "news.jsonl").read_text().splitlines()]
    corpus = str(ROOT / "examples" / "news.jsonl")
    run("-m", "mbc_cli", "encode", corpus, "--store", store, "--adapter", "news")
    output = run(
        "-m",
        "mbc_cli",
        "query",
        "-",
        "--store",
        store,
        "--json",
        stdin=(ROOT / "examples" / "news.questions.txt").read_text(),
    )
    answers = [json.loads(line) for line in output.splitlines()]
    assert len(answers) == 8
    # Every eighth document is asked about, in order.
    found = [answer["sources"][0]["document_id"] for answer in answers]
    assert sum(a == b["id"] for a, b in zip(found, documents[::8], strict=True)) >= 7


def test_it_is_small_and_loads_to_the_fingerprint_it_states() -> None:
    size = sum(file.stat().st_size for file in NEWS.rglob("*") if file.is_file())
    assert size < 30e6
    assert load_adapter(NEWS).model.fingerprint() == read_description(NEWS)["fingerprint"]


@pytest.mark.slow
def test_the_script_that_made_it_runs_from_nothing_to_a_bundle_that_answers(tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "train_news_adapter.py")
    sizes = ["--lm-steps", "2", "--lm-documents", "160", "--documents", "80", "--max-steps", "3"]
    output = run(script, str(tmp_path), *sizes)
    assert "3 steps" in output
    bundle = tmp_path / "bundle"
    description = read_description(bundle)
    assert description["model"].base_model == "./base"
    assert architecture(bundle / "base") == architecture(NEWS / "base")
    loaded = load_adapter(bundle)
    assert loaded.model.has_codebooks
    assert "What it cannot do" in (bundle / "README.md").read_text()
