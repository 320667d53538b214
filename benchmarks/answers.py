"""Train memories and measure how many questions they answer: every figure of docs/benchmarks.md on answers.

    python benchmarks/answers.py work/ open                 # the adapter news' kind of data, three seeds
    python benchmarks/answers.py work/ closed --seeds 0
    python benchmarks/answers.py work/ two-events published mac unquantized

Documents and names of the tests occur in no training. Answers are generated greedily, through the store on
disk. What is already in work/ (language models, memories, measurements) is used again.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from mbc_cli.evaluation.bank_bytes import bank_bytes
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Method
from mbc_cli.evaluation.methods.memory import MemoryMethod, VectorsMethod
from mbc_cli.evaluation.methods.no_memory import NoMemory
from mbc_cli.evaluation.online import Stream, online
from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.memory import Memory
from mbc_cli.model.config import parse_memory_config
from mbc_cli.training.adapt import adapt
from mbc_cli.training.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "examples"))
from small_t5 import save_t5  # noqa: E402
from train_news_adapter import news, show  # noqa: E402

PRESET = ROOT / "mbc_cli" / "presets" / "news-small.yaml"
MINUTES = "training/minutes.txt"
TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 11, 12, 100
TRAINING_DOCUMENTS, VALIDATION_DOCUMENTS, TEST_QUESTIONS = 30_000, 400, 500

PUBLISHED: dict[str, Any] = {
    # The published network and its sizes but for the widths, which are the small LLM's.
    "model": {
        "method": "whole-bank",
        "context_vectors": 12,
        "amortization": {"document_t5": "{t5}", "question_t5": "{t5}", "document_tokens": 96},
        "quantizer": {"kind": "vq", "codebook": "shared", "codebook_size": 512, "decay": 0.9},
        "aggregation": {"blocks": 4, "heads": 4, "head_dimension": 32},
        "modulation": {"prefix_tokens": 2, "hidden": 128},
        **dict.fromkeys(("pooling", "selection", "reading", "loss", "memory_queue")),
    },
    "training": {"select_by": "loss"},
}
MAC: dict[str, Any] = PUBLISHED | {"model": PUBLISHED["model"] | {"quantizer": {"kind": "none"}}}


@dataclass(frozen=True)
class Test:
    """What one memory is asked: how many documents its bank holds, and from which generator."""

    documents: int
    news: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True)
class Variant:
    """One kind of news and one configuration of the memory; ``replace`` takes out what is None."""

    language_model: str
    news: Mapping[str, Any] = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)
    replace: Mapping[str, Any] = field(default_factory=dict)
    tests: Sequence[Test] = (Test(1665), Test(10_000))


CLOSED = {"vocabulary": "closed"}
AGGREGATED: dict[str, Any] = {
    "reading": {"kind": "slot-attention", "prefix_tokens": 8, "hidden": 256, "answer_head": 0.3},
}
SLOTS: dict[str, Any] = {
    "pooling": "slots",
    "quantizer": {"codebook": "per-slot", "codebook_size": 1024},
}
# A word is a slot's, so a slot needs more codes than a class has words: twice as many leave none without.
WORDS: dict[str, Any] = SLOTS | {
    "context_vectors": 13,
    "quantizer": SLOTS["quantizer"] | {"schedule": {"unquantized": 0.3, "ramp": 0.15, "noise": 0.2}},
    "selection": {"dimension": 64},
    "memory_queue": {"negatives": 256, "size": 4096},
}
LONGER: dict[str, Any] = {"epochs": 2, "max_steps": 1500, "validate_every": 250}
EVENTS: dict[str, Any] = {
    "context_vectors": 48,
    "amortization": {"document_tokens": 176},
    "quantizer": {"schedule": {"unquantized": 0.35, "ramp": 0.1, "noise": 0.2}},
    "reading": {"relevance": {"layers": 4}},
}
ONCE = [Test(1665)]
VARIANTS = {
    "open": Variant(
        "open-lm",
        tests=[Test(1665), Test(10_000), Test(1665, {"templates": "held-out"}, "held-out templates")],
    ),
    "closed": Variant("closed-lm", CLOSED, {"model": WORDS, "training": LONGER}),
    "two-events": Variant(
        "open-lm", {"events": 2}, {"model": EVENTS, "training": {"max_steps": 700, "validate_every": 175}}
    ),
    "unquantized": Variant("open-lm", replace={"model": {"quantizer": {"kind": "none"}}}, tests=ONCE),
    "aggregated": Variant("open-lm", change={"model": AGGREGATED}, tests=ONCE),
    "slot-pooling": Variant("open-lm", change={"model": SLOTS}, tests=ONCE),
    "closed-tokens": Variant("closed-lm", CLOSED, {"model": {"context_vectors": 9}}, tests=ONCE),
    "closed-aggregated": Variant(
        "closed-lm",
        CLOSED,
        {"model": WORDS | AGGREGATED, "training": LONGER},
        tests=ONCE,
    ),
    "published": Variant("open-lm", replace=PUBLISHED, tests=ONCE),
    "mac": Variant("open-lm", replace=MAC, tests=ONCE),
    "closed-published": Variant("closed-lm", CLOSED, replace=PUBLISHED, tests=ONCE),
    "closed-mac": Variant("closed-lm", CLOSED, replace=MAC, tests=ONCE),
}
LANGUAGE_MODELS: dict[str, list[str]] = {
    "open-lm": [],
    "closed-lm": ["--closed", "--two-events", "0", "--steps", "3000", "--documents", "48000"],
}


@dataclass(frozen=True)
class Measurement:
    """One memory at one size of its bank; fractions of questions, bytes per document."""

    variant: str
    seed: int
    test: str
    documents: int
    questions: int
    exact_match: float
    f1: float
    recall_at_1: float | None
    exact_match_where_selected: float | None
    without_memory: float
    unquantized: float | None
    code_bytes: float | None
    packed_bytes: float | None
    entropy_bytes: float | None
    training_minutes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("variants", nargs="+", choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = [
        measurement
        for name in arguments.variants
        for seed in arguments.seeds
        for measurement in measure(arguments.work, name, seed)
    ]
    print(table(measured))


def measure(work: Path, name: str, seed: int) -> list[Measurement]:
    """Train variant ``name`` with ``seed`` under ``work``, unless it is there, and ask its questions."""
    variant = VARIANTS[name]
    adapter = work / name / f"seed-{seed}"
    if not (adapter / "config.yaml").is_file():
        train(variant, work, adapter, seed)
    results = []
    for test in variant.tests:
        kept = adapter / "measured" / f"{test.documents}{test.name and '-'}{test.name}.json"
        if not kept.is_file():
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(asdict(ask(adapter, variant, test, name, seed)), indent=1))
        results.append(Measurement(**json.loads(kept.read_text())))
    return results


def train(variant: Variant, work: Path, adapter: Path, seed: int) -> None:
    language_model = train_language_model(work, variant.language_model)
    settings = configuration(variant, language_model)
    report = adapt(
        parse_memory_config(settings["model"]),
        TrainingConfig.model_validate(settings["training"] | {"seed": seed}),
        *news(TRAINING_DOCUMENTS, seed=TRAINING_SEED, split="train", **variant.news),
        news(VALIDATION_DOCUMENTS, seed=VALIDATION_SEED, **variant.news),
        adapter,
        resume=adapter.exists(),
        device="cpu",
        on_progress=show,
    )
    (adapter / MINUTES).write_text(f"{report.seconds / 60:.1f}")


def train_language_model(work: Path, name: str) -> Path:
    """The directory of a language model, trained now unless it is there."""
    output = work / name
    if not (output / "model.safetensors").is_file():
        script = ROOT / "examples" / "train_news_lm.py"
        subprocess.run([sys.executable, str(script), str(output), *LANGUAGE_MODELS[name]], check=True)
    return output


def configuration(variant: Variant, language_model: Path) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load(PRESET.read_text())
    for section, values in variant.replace.items():
        replaced = settings[section] | values
        settings[section] = {key: value for key, value in replaced.items() if value is not None}
    for section, values in variant.change.items():
        for key, value in values.items():
            old = settings[section].get(key)
            settings[section][key] = old | value if isinstance(old, dict) else value
    settings["model"]["base_model"] = str(language_model)
    if settings["model"]["method"] == "whole-bank":
        reader = language_model.with_name(f"{language_model.name}-t5")
        if not reader.exists():
            make_t5(reader, language_model)
        settings["model"]["amortization"] |= {"document_t5": str(reader), "question_t5": str(reader)}
    return settings


def make_t5(reader: Path, language_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    save_t5(reader, tokenizer, AutoModelForCausalLM.from_pretrained(language_model), heads=4, layers=2)


def ask(adapter: Path, variant: Variant, test: Test, name: str, seed: int) -> Measurement:
    documents, every = news(test.documents, seed=TEST_SEED + seed, **{**variant.news, **test.news})
    questions = random.Random(seed).sample(every, TEST_QUESTIONS)
    stream = Stream.of(documents, questions)
    with TemporaryDirectory(prefix="mbc-answers-") as directory:
        memory: AnyMemory
        vectors = None
        if VectorMemory.is_needed(adapter):
            memory = VectorMemory.load(adapter, device="cpu")
        else:
            memory = Memory.create(Path(directory) / "bank.mbc", adapter, keep_text=False, device="cpu")
            if memory.selects and test.documents <= 2000:
                vectors = VectorMemory(memory.model, memory.tokenizers, adapter_name=memory.adapter_name)
        figures = figures_of(MemoryMethod(memory), stream)
        sizes = bank_bytes(memory)
        without = figures_of(NoMemory(memory), stream)
        unquantized = {} if vectors is None else figures_of(VectorsMethod(vectors), stream)
    return Measurement(
        variant=name,
        seed=seed,
        test=test.name or name,
        documents=test.documents,
        questions=len(questions),
        exact_match=figures["exact_match"] or 0.0,
        f1=figures["f1"] or 0.0,
        recall_at_1=figures["recall_at_1"],
        exact_match_where_selected=figures["right_if_selected"],
        without_memory=without["exact_match"] or 0.0,
        unquantized=unquantized.get("exact_match"),
        code_bytes=sizes.stored_codes,
        packed_bytes=sizes.packed,
        entropy_bytes=sizes.entropy,
        training_minutes=float((adapter / MINUTES).read_text()),
    )


def figures_of(method: Method, stream: Stream) -> dict[str, float | None]:
    """Every measure of a method that has taken in the whole stream."""
    (stage,) = online(method, stream)
    return {name: measure.value(stage.predictions) for name, measure in MEASURES.items()}


def table(measured: Sequence[Measurement]) -> str:
    heads = [
        "test",
        "documents",
        "seed",
        "EM",
        "F1",
        "recall@1",
        "EM if selected",
        "unquantised",
        "no memory",
    ]
    heads += ["codes B", "packed B", "entropy B", "minutes"]
    rows = [
        [
            one.test,
            f"{one.documents:,}",
            str(one.seed),
            *(
                "" if share is None else f"{100 * share:.1f}"
                for share in (
                    one.exact_match,
                    one.f1,
                    one.recall_at_1,
                    one.exact_match_where_selected,
                    one.unquantized,
                    one.without_memory,
                )
            ),
            *(
                "" if size is None else f"{size:.1f}"
                for size in (one.code_bytes, one.packed_bytes, one.entropy_bytes, one.training_minutes)
            ),
        ]
        for one in measured
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
