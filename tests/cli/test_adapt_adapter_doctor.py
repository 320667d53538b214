"""``mbc adapt``, ``mbc adapter`` and ``mbc doctor`` end to end, with tiny models of real architectures."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from mbc_cli.errors import DISTRIBUTION, ExitCode
from mbc_cli.presets import preset_names
from mbc_cli.training.checkpoints import Checkpoints, read_metrics
from tests.support.run_mbc import COMMAND, Process, RunMbc, process_environment
from tests.support.tiny_models import memory_config

PARITY = Path(__file__).parents[1] / "fixtures" / "parity" / "gpt2"


@pytest.fixture
def task(tmp_path: Path) -> dict[str, str]:
    """Files of documents and questions, and a preset for tiny models."""
    names = ["Mira Okafor", "Jonas Weil", "Ada Brandt", "Tove Lind"]
    (tmp_path / "d.jsonl").write_text(
        "".join(
            json.dumps({"id": f"d{i}", "text": f"{name} opened it."}) + "\n" for i, name in enumerate(names)
        )
    )
    (tmp_path / "q.jsonl").write_text(
        "".join(
            json.dumps({"question": "Who opened it?", "answers": [name], "document_ids": [f"d{i}"]}) + "\n"
            for i, name in enumerate(names)
        )
    )
    preset = {
        "model": memory_config(tmp_path).model_dump(mode="json"),
        "training": {
            "max_steps": 3,
            "batch_size": 2,
            "validate_every": 2,
            "log_every": 1,
            "learning_rate": 1e-3,
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(preset))
    return {name: str(tmp_path / name) for name in ("d.jsonl", "q.jsonl", "tiny.yaml", "out")}


def adapt_arguments(task: dict[str, str]) -> list[str]:
    data = [task["d.jsonl"], "--questions", task["q.jsonl"]]
    validation = ["--validation", task["d.jsonl"], "--validation-questions", task["q.jsonl"]]
    return [
        "adapt",
        *data,
        *validation,
        "--preset",
        task["tiny.yaml"],
        "--output",
        task["out"],
        "--device",
        "cpu",
    ]


@pytest.mark.slow
def test_adapt_encode_query_in_a_row(mbc: RunMbc, task: dict[str, str], tmp_path: Path) -> None:
    adapted = mbc(*adapt_arguments(task), "--set", "training.max_steps=4", "--json")
    assert adapted.code == 0, adapted.err
    report = json.loads(adapted.out)
    assert (report["steps"], report["questions"], report["directory"]) == (4, 4, task["out"])
    assert "validation loss" in adapted.err
    assert task["out"] in mbc("adapter", "trust", "--list", "--json").out  # who trained it trusts it
    store = str(tmp_path / "m.mbc")
    assert mbc("encode", task["d.jsonl"], "--store", store, "--adapter", task["out"]).code == 0
    assert mbc("query", "Who opened it?", "--store", store).code == 0


@pytest.mark.slow
def test_a_finished_adapter_is_not_overwritten(mbc: RunMbc, task: dict[str, str]) -> None:
    mbc(*adapt_arguments(task))
    again = mbc(*adapt_arguments(task))
    assert again.code == ExitCode.FAILED
    assert "already holds an adapter" in again.err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_training_says_what_is_saved_and_goes_on_from_there(
    number: signal.Signals, mbc: RunMbc, task: dict[str, str]
) -> None:
    arguments = [*adapt_arguments(task), "--set", "training.max_steps=100000"]
    with Process(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=process_environment()
    ) as process:
        log = Path(task["out"], "training", "metrics.jsonl")
        while not (log.exists() and len(read_metrics(log)) > 2):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, b"")
    step = Checkpoints(Path(task["out"], "training", "checkpoints")).steps()[-1]
    saved = f"a checkpoint of step {step} is saved in {task['out']}; go on from it with --resume"
    assert err.decode().splitlines()[-2:] == [saved, "interrupted"]

    resumed = mbc(*arguments, "--resume", "--set", "training.max_minutes=1e-6", "--json")
    assert (resumed.code, json.loads(resumed.out)["steps"]) == (0, step)


def test_adapt_tells_wrong_settings_before_it_loads_anything(mbc: RunMbc, task: dict[str, str]) -> None:
    wrong = mbc(*adapt_arguments(task), "--set", "training.epoch=3")
    assert wrong.code == ExitCode.USAGE
    assert "did you mean 'training.epochs'?" in wrong.err
    missing = mbc("adapt", task["d.jsonl"], "--questions", task["q.jsonl"], "--output", task["out"])
    assert missing.code == ExitCode.USAGE
    assert "distilgpt2" in missing.err


@pytest.mark.parametrize("preset", ["distilgpt2", "llama2-7b"])
def test_a_preset_is_measured_without_weights_or_network(mbc: RunMbc, preset: str) -> None:
    result = mbc("adapter", "info", preset, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["learned"] == sum(found["parameters"].values())
    assert found["language_model"] > 80_000_000


def test_an_adapter_is_measured_by_part(mbc: RunMbc, adapter_directory: Path) -> None:
    result = mbc("adapter", "info", adapter_directory)
    assert result.code == 0, result.err
    assert "kv_lora" in result.out
    assert "language model" in result.out


def test_an_unknown_adapter_names_the_nearest_preset(mbc: RunMbc) -> None:
    result = mbc("adapter", "info", "distilgtp2")
    assert result.code == ExitCode.FAILED
    assert "did you mean 'distilgpt2'?" in result.err


def test_the_list_names_every_preset(mbc: RunMbc) -> None:
    lines = [json.loads(line) for line in mbc("adapter", "list", "--json").out.splitlines()]
    assert [line["preset"] for line in lines] == preset_names()


def test_a_published_checkpoint_becomes_an_adapter_that_encodes_and_answers(
    mbc: RunMbc, tmp_path: Path
) -> None:
    models = published_models(tmp_path)
    imported = mbc(
        *["adapter", "import-reference", PARITY / "reference.pt", "--output", tmp_path / "published"],
        *["--base-model", models["base_lm"], "--document-t5", models["amortization_t5"]],
        *["--question-t5", models["question_t5"], "--json"],
    )
    assert imported.code == 0, imported.err
    fingerprint = json.loads(imported.out)["fingerprint"]
    assert fingerprint in mbc("adapter", "trust", "--list", "--json").out
    store = tmp_path / "published.mbc"
    (tmp_path / "d.txt").write_text("Mira opened the museum .")
    encoded = mbc("encode", tmp_path / "d.txt", "--store", store, "--adapter", tmp_path / "published")
    assert encoded.code == 0, encoded.err
    asked = mbc("query", "who opened the museum ?", "--store", store, "--json")
    assert asked.code == 0, asked.err
    assert json.loads(asked.out)["from_memory"] is True


def published_models(tmp_path: Path) -> dict[str, Path]:
    """The fixture's models with tokenizers of a few words beside them: their vocabularies are small."""
    words = ["<pad>", "</s>", "<unk>", "Mira", "opened", "the", "museum", "who", "Question", "Answer", ":"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    named = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    models: dict[str, Path] = {}
    for name in ("base_lm", "amortization_t5", "question_t5"):
        models[name] = tmp_path / name
        shutil.copytree(PARITY / name, models[name])
        named.save_pretrained(models[name])
    return models


@pytest.mark.slow
def test_doctor_finds_a_readable_adapter_and_store(
    mbc: RunMbc, adapter_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "text": "t"}')
    store = tmp_path / "s.mbc"
    mbc("encode", tmp_path / "d.jsonl", "--store", store, "--adapter", adapter_directory)
    result = mbc("doctor", "--store", store, "--adapter", adapter_directory, "--json")
    checks: dict[str, Any] = {check["name"]: check for check in map(json.loads, result.out.splitlines())}
    assert result.code == 0, result.out
    assert "1 documents" in checks["store"]["finding"]
    assert checks["device"]["ok"] is True
    assert checks[DISTRIBUTION]["ok"] is True


def test_doctor_fails_where_the_store_cannot_be_read(
    mbc: RunMbc, adapter_directory: Path, tmp_path: Path
) -> None:
    result = mbc("doctor", "--store", tmp_path / "none.mbc", "--adapter", adapter_directory)
    assert result.code == ExitCode.FAILED
    assert "WRONG" in result.out


def test_without_questions_some_are_made_and_can_be_seen_first(mbc: RunMbc, task: dict[str, str]) -> None:
    Path(task["d.jsonl"]).write_text(
        json.dumps({"id": "d", "text": "Mira Okafor opened the harbour museum in Lindholm in 1987."}) + "\n"
    )
    base = ["adapt", task["d.jsonl"], "--preset", task["tiny.yaml"], "--output", task["out"]]
    shown = mbc(*base, "--show-questions", "9", "--json")
    assert shown.code == 0
    made = [json.loads(line) for line in shown.out.splitlines()]
    assert 0 < len(made) <= 4
    assert all(question["answers"][0] in Path(task["d.jsonl"]).read_text() for question in made)
    assert not Path(task["out"]).exists()
    fewer = mbc(*base, "--show-questions", "1", "--set", "training.made_questions=2")
    assert fewer.out.count("\n") == 1
    assert mbc(*base, "--set", "training.max_steps=1").code == 0
