"""Make the default adapter: train a memory for SmolLM2-135M-Instruct on real text, calibrate it, bundle it.

    python examples/make_real_text.py --fairytaleqa DIR --xquad FILE --wikipedia FILE text/
    python examples/train_default_adapter.py text/ work/             # seventy minutes on two cores
    python examples/train_default_adapter.py text/ work/ --install   # ... and put it into the package

Resumable: an interrupted training goes on from its last checkpoint, a finished one is only bundled.
"""

from __future__ import annotations

import argparse
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from make_real_text import TextSet, question_of, read_rows
from train_news_adapter import show

from mbc_cli.corpus.documents import Document
from mbc_cli.inference.adapters import load_adapter
from mbc_cli.model.adapter import read_description, write_calibration
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.config import parse_memory_config
from mbc_cli.training.adapt import adapt
from mbc_cli.training.calibrate import calibrate
from mbc_cli.training.config import TrainingConfig

PRESET = files("mbc_cli") / "presets" / "smollm2-135m.yaml"
INSTALLED = Path(str(files("mbc_cli"))) / "default_adapters" / "smollm2-135m"
# Learned from telegrams of half of the tokens and from whole passages; chosen on the validation set.
SLOTS_IN_USE, KEPT_IN_USE = 58, 0.9
CARD = Path(__file__).with_name("default_adapter_card.md")
KINDS = ("documents", "questions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text", type=Path, help="directory that make_real_text.py wrote")
    parser.add_argument("work", type=Path, help="directory for checkpoints and the adapter")
    parser.add_argument("--max-steps", type=int, help="instead of the preset's")
    parser.add_argument("--install", action="store_true", help="copy the result into the package")
    arguments = parser.parse_args()

    validation = read_text_set(arguments.text / "validation")
    adapter = arguments.work / "adapter"
    if not (adapter / "config.yaml").exists():
        preset = yaml.safe_load(PRESET.read_text())
        settings = preset["training"] | ({"max_steps": arguments.max_steps} if arguments.max_steps else {})
        learned = read_text_set(arguments.text / "train")
        report = adapt(
            parse_memory_config(preset["model"]),
            TrainingConfig.model_validate(settings),
            learned.documents,
            learned.questions,
            (validation.documents, validation.questions),
            adapter,
            resume=adapter.exists(),
            device="cpu",
            on_progress=show,
        )
        print(f"{report.steps} steps in {report.seconds:.0f} s, validation EM {report.validation_em:.3f}")
    bundle(adapter, validation, arguments.work / "bundle")
    if arguments.install:
        shutil.rmtree(INSTALLED, ignore_errors=True)
        shutil.copytree(arguments.work / "bundle", INSTALLED)
        print(f"installed in {INSTALLED}")


def read_text_set(stem: Path) -> TextSet:
    """Documents and questions as make_real_text.py wrote them."""
    documents, questions = (read_rows(stem.with_name(f"{stem.name}.{kind}.jsonl")) for kind in KINDS)
    return TextSet(
        [Document(row["id"], row["text"], title=row["title"]) for row in documents],
        [question_of(row) for row in questions],
    )


def bundle(adapter: Path, validation: TextSet, output: Path) -> None:
    """The adapter without the traces of its training, as it is used: it keeps more, and is calibrated so."""
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(adapter, output, ignore=shutil.ignore_patterns("training"))
    config = output / "config.yaml"
    description = yaml.safe_load(config.read_text())
    description["model"]["context_vectors"] = SLOTS_IN_USE
    description["model"]["quantizer"]["kept"] = KEPT_IN_USE
    config.write_text(yaml.safe_dump(description, sort_keys=False))
    loaded = load_adapter(output, device="cpu")
    # What so small a LLM says by itself is seldom right: nothing is better.
    found = calibrate(
        loaded.model, loaded.tokenizers, validation.documents, validation.questions, fallback=False
    )
    if found is not None:  # a training of a few steps has learned nothing that could be told
        write_calibration(output, found)
    (output / "README.md").write_text(card(read_description(output)))


def card(description: dict[str, Any]) -> str:
    """The model card: what the adapter can and cannot do, and what it learned from."""
    made, model = description["provenance"], description["model"]
    return CARD.read_text().format(
        kept=model.quantizer.kept,
        window=model.amortization.document_tokens,
        rank=model.kv_lora.rank,
        steps=made["steps"],
        batch=made["training"]["batch_size"],
        passages=made["passages"],
        questions=made["questions"],
        notices=notices(description["calibration"]),
        fingerprint=description["fingerprint"],
    )


def notices(calibration: Calibration | None) -> str:
    """What the card says about confidence and about questions that nothing in memory speaks to."""
    if calibration is None:
        return "Nothing: it was not calibrated."
    noticed = (
        f"Of {calibration.held_out_questions} validation questions that served no fit, put to memories of\n"
        f"up to {calibration.held_out_passages} passages, {1 - calibration.false_answer_rate:.1%} of those "
        "about something else were noticed, and\n"
        f"{calibration.false_abstention_rate:.1%} of those about something there were taken for such."
    )
    if calibration.answers is None:
        return noticed
    error = calibration.answers.expected_calibration_error
    return f"{noticed} The expected calibration\nerror of its confidence is {error:.3f}."


if __name__ == "__main__":
    main()
