"""Make the adapter `news`: a small LLM, then its memory, then one directory that holds both.

    python examples/train_news_adapter.py work/            # about an hour on one busy core
    python examples/train_news_adapter.py work/ --install  # ... and put it into the package

Resumable: a finished LLM is used again, an interrupted training of the memory goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.model.adapter import write_description
from mbc_cli.model.build import count_parameters
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.config import parse_memory_config
from mbc_cli.model.llm.architectures import model_config
from mbc_cli.news.generator import generate_news
from mbc_cli.training.adapt import adapt
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.loop import ProgressReport

PRESET = files("mbc_cli") / "presets" / "news-small.yaml"
INSTALLED = Path(str(files("mbc_cli"))) / "default_adapters" / "news"
CARD = Path(__file__).with_name("news_adapter_card.md")
TRAINING_SEED, VALIDATION_SEED = 11, 12  # the demo and the benchmarks use others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path, help="directory for the LLM, checkpoints and the adapter")
    parser.add_argument("--lm-steps", type=int, default=4500)
    parser.add_argument("--lm-documents", type=int, default=45000)
    parser.add_argument("--documents", type=int, default=30000)
    parser.add_argument(
        "--max-steps", type=int, help="steps of the memory's training, instead of the preset's"
    )
    parser.add_argument("--install", action="store_true", help="copy the result into the package")
    arguments = parser.parse_args()

    language_model = arguments.work / "news-lm"
    if not (language_model / "model.safetensors").is_file():
        script = Path(__file__).with_name("train_news_lm.py")
        sizes = ["--steps", str(arguments.lm_steps), "--documents", str(arguments.lm_documents)]
        subprocess.run([sys.executable, str(script), str(language_model), *sizes], check=True)

    preset = yaml.safe_load(PRESET.read_text())
    config = parse_memory_config(preset["model"] | {"base_model": str(language_model)})
    settings = preset["training"] | ({"max_steps": arguments.max_steps} if arguments.max_steps else {})
    report = adapt(
        config,
        TrainingConfig.model_validate(settings),
        *news(arguments.documents, seed=TRAINING_SEED, split="train"),
        news(400, seed=VALIDATION_SEED, split="test"),
        arguments.work / "adapter",
        resume=(arguments.work / "adapter").exists(),
        device="cpu",
        on_progress=show,
    )
    print(
        f"{report.steps} steps in {report.seconds:.0f} s, validation exact match {report.validation_em:.3f}"
    )
    bundle(arguments.work / "adapter", language_model, arguments.work / "bundle")
    if arguments.install:
        shutil.rmtree(INSTALLED, ignore_errors=True)
        shutil.copytree(arguments.work / "bundle", INSTALLED)
        print(f"installed in {INSTALLED}")


def news(count: int, **kind: Any) -> tuple[list[Document], list[Question]]:
    """``count`` documents and all their questions; ``kind`` is what ``generate_news`` takes."""
    items = list(generate_news(count, **kind))
    return [item.document for item in items], [question for item in items for question in item.questions]


def show(report: ProgressReport) -> None:
    if report.validation is not None:
        print(f"  step {report.step}: validation {report.validation.as_dict()}", flush=True)
    elif report.loss is not None:
        print(f"step {report.step}/{report.total_steps}: loss {report.loss:.3f}", flush=True)


def card(description: dict[str, Any], parts: Mapping[str, int]) -> str:
    """The bundled adapter's model card: what it can and cannot do, in plain words."""
    model, made = description["model"], description["provenance"]
    return CARD.read_text().format(
        llm=parts["language_model"],
        memory=sum(parts.values()) - parts["language_model"],
        window=model["amortization"]["document_tokens"],
        slots=model["context_vectors"],
        codes=model["quantizer"]["codebook_size"],
        steps=made["adapter_step"],
        passages=made["passages"],
        questions=made["questions"],
        em=made["validation_em"],
        asked=made["training"]["validation_questions"],
        fingerprint=description["fingerprint"],
        notices=notices(description.get("calibration")),
    )


def notices(calibration: dict[str, Any] | None) -> str:
    """What the card says about questions that nothing in memory speaks to."""
    if calibration is None:
        return (
            "Nothing: where nothing in memory speaks to a question, it reads the least unlikely item and\n"
            "answers from that."
        )
    found = Calibration.model_validate(calibration)
    return (
        "When nothing in memory speaks to a question, by the score of the best item. In a memory of\n"
        f"{found.held_out_passages} items that it was not calibrated on, {found.false_answer_rate:.1%} of "
        "the questions about other items were taken to be about one\nof these, and "
        f"{found.false_abstention_rate:.1%} of the questions about these to be about something else."
    )


def bundle(adapter: Path, language_model: Path, output: Path) -> None:
    """One directory with the adapter and its LLM, which config.yaml then names as a part of itself."""
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(adapter, output, ignore=shutil.ignore_patterns("training"))
    shutil.copytree(language_model, output / "base")
    description = yaml.safe_load((output / "config.yaml").read_text())
    description["model"] |= {"base_model": "./base", "base_revision": None}
    if description.get("calibration"):
        description["calibration"]["fallback"] = False  # its LLM knows nothing by itself
    lora = output / "kv_lora" / "adapter_config.json"
    lora.write_text(lora.read_text().replace(str(language_model.resolve()), "../base"))
    config = parse_memory_config(description["model"])
    parts = count_parameters(config, model_config(str(language_model)))
    (output / "README.md").write_text(card(description, parts))
    write_description(output, description)


if __name__ == "__main__":
    main()
