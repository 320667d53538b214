"""The parts of benchmarks/real_text.py: each measures one side of a memory and returns what JSON can hold."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from real_text_bench import FOUND, SETS, Bm25, Read, RealTextBench, entropy_bytes, exact_and_f1
from real_text_words import holds_answer, share_kept
from torch import Tensor

from mbc_cli.corpus.documents import Document
from mbc_cli.inference.encode import encode_texts
from mbc_cli.memory import Memory
from mbc_cli.training.calibrate import expected_calibration_error

COLUMNS = (*SETS, "all")
SLOTS = (8, 16, 24, 32, 48)
CANDIDATES = 4  # of the end-to-end answers
READ = (1, 2, 4)
TIMED = 40  # questions
Result = dict[str, Any]


# Finding.


def finding(bench: RealTextBench) -> Result:
    """Where the right passage stands among those found."""
    bm25 = Bm25(bench.texts)
    ranked = bench.ranked
    found = {
        "BM25, whole texts": torch.tensor([bm25.best(each.question, FOUND) for each in bench.everything]),
        "codes": ranked.best(0)[1],
        "codes, 4 read": ranked.best(4)[1],
        "codes, 8 read": ranked.best(8)[1],
    }
    return {
        "recall": {
            name: {str(k): shares(bench, (rows[:, :k] == bench.gold[:, None]).any(1)) for k in (1, 5, FOUND)}
            for name, rows in found.items()
        },
        "rows": {name: rows.tolist() for name, rows in found.items()},
    }


# Reading.


def reading(bench: RealTextBench) -> Result:
    """Answers where the right passage is given, kept in many ways."""
    gold = bench.gold
    settings: dict[str, tuple[Tensor | None, bool]] = {
        f"T = {slots}, {share:.0%} kept": (bench.kept(bench.wanted(slots, share)), True)
        for share in (0.5, 1.0)
        for slots in SLOTS
    }
    settings |= {
        "as the adapter keeps them": (bench.codes, True),
        "gold text": (bench.whole, True),
        "gold text, no LoRA": (bench.whole, False),
        "nothing": (None, True),
    }
    measured = {}
    for name, (codes, lora) in settings.items():
        answers = bench.read(None if codes is None else codes[gold][:, None], lora=lora, what=name)
        measured[name] = scored(bench, answers) | sizes(bench, codes)
    best = measured["gold text"]["exact_match"]
    for each in measured.values():
        each["share_of_gold_text"] = {
            column: round(100 * each["exact_match"][column] / best[column], 1) if best[column] else None
            for column in COLUMNS
        }
    return {"settings": measured, "tokens": spread(bench, bench.lengths.double())}


def sizes(bench: RealTextBench, codes: Tensor | None) -> Result:
    """Codes and bytes of a passage: means over each test set's, and over the whole bank."""
    if codes is None:
        nothing = dict.fromkeys((*SETS, "bank"), 0.0)
        return {"codes": nothing, "bytes": nothing}
    empty = bench.model.amortizer.empty
    return {
        "codes": spread(bench, (codes != empty).sum(1).double()),
        "bytes": spread(bench, entropy_bytes(codes, empty)),
    }


def spread(bench: RealTextBench, values: Tensor) -> dict[str, float]:
    """Means of what each passage has: those of each test set, and all in the bank."""
    means = {name: float(values[rows.start : rows.stop].mean()) for name, rows in bench.passages.items()}
    return {name: round(mean, 2) for name, mean in (means | {"bank": float(values.mean())}).items()}


# Answers.


def answering(bench: RealTextBench) -> Result:
    """Answers where the passage has to be found, and what the wrong ones failed at."""
    scores, rows = bench.ranked.best(CANDIDATES)
    bm25 = Bm25(bench.texts)
    measured: Result = {}
    first: list[Read] = []
    for name, codes in (("codes", bench.codes), ("whole text", bench.whole)):
        for k in READ:
            weights = scores[:, :k].log_softmax(1) if k > 1 else None
            what = f"{name}, best {k} of {CANDIDATES}"
            answers = bench.read(codes[rows[:, :k]], weights, what=what)
            measured[what] = scored(bench, answers)
            first = first or answers
    best = torch.tensor([bm25.best(each.question, 1) for each in bench.everything])
    answers = bench.read(bench.whole[best], what="whole text, BM25's best")
    measured["whole text, BM25's best"] = scored(bench, answers)
    return {"settings": measured, "failures": failures(bench, first, rows[:, 0])}


def failures(bench: RealTextBench, answers: Sequence[Read], rows: Tensor) -> Result:
    """Why the answers read from one passage, at ``rows`` (Q,), are wrong."""
    right = exact_and_f1(bench.everything, answers)[0]
    held = answers_held(bench, bench.which_kept(bench.salience))
    kinds = [
        "right" if is_right else "not found" if row != each.row else "misread" if is_held else "not kept"
        for each, is_right, row, is_held in zip(bench.everything, right, rows.tolist(), held, strict=True)
    ]
    return {
        kind: shares(bench, [each == kind for each in kinds])
        for kind in ("right", "not found", "not kept", "misread")
    }


# Confidence.


def confidence(bench: RealTextBench) -> Result:
    """How far relevance and confidence tell what is there and what is right."""
    calibration = bench.calibration
    if calibration is None:
        return {}
    config, count = bench.model.config, len(bench.texts)
    candidates, top_k = min(config.reading.candidates, FOUND - 1), config.selection.top_k
    scores, rows = bench.ranked.best(candidates)
    weights = scores[:, :top_k].log_softmax(1) if top_k > 1 else None
    answers = bench.read(bench.codes[rows[:, :top_k]], weights, what="as in use")
    relevance = [calibration.relevance(score, count) for score in scores[:, 0].tolist()]
    gone = bench.ranked.without(bench.gold).best(candidates)[0][:, 0].tolist()
    noticed = [calibration.relevance(score, count - 1) < calibration.threshold for score in gone]
    of_answers = calibration.answers
    believed = [
        of_answers.confidence(each, read.log_likelihood) if of_answers else each
        for each, read in zip(relevance, answers, strict=True)
    ]
    exact, f1 = exact_and_f1(bench.everything, answers)
    questions = [
        {"relevance": one, "confidence": two, "exact": bool(three), "f1": four >= 0.5}
        for one, two, three, four in zip(relevance, believed, exact, f1, strict=True)
    ]
    abstained = [each < calibration.threshold for each in relevance]
    given = {
        column: [each for each in part if each["relevance"] >= calibration.threshold]
        for column, part in bench.by_set(questions).items()
    }
    return {
        "threshold": calibration.threshold,
        "noticed": shares(bench, noticed),
        "abstained": shares(bench, abstained),
        "answered": {column: reliability(part) for column, part in given.items()},
        "everything": {column: reliability(part) for column, part in bench.by_set(questions).items()},
        "questions": questions,
    }


def reliability(answers: Sequence[Result]) -> Result:
    """Of answers with their confidence: bins of equal width, the error over them, and the surely wrong."""
    believed = np.array([each["confidence"] for each in answers])
    sure = [each for each in answers if each["confidence"] > 0.8]
    result: Result = {"count": len(answers), "sure": len(sure), "bins": []}
    for number in range(10):
        part = [each for each in answers if min(int(each["confidence"] * 10), 9) == number]
        if part:
            means = {
                key: sum(each[key] for each in part) / len(part) for key in ("confidence", "exact", "f1")
            }
            result["bins"].append({"bin": number, "count": len(part)} | means)
    for kind in ("exact", "f1"):
        right = np.array([each[kind] for each in answers], dtype=bool)
        wrong = sum(not each[kind] for each in sure)
        result[kind] = {
            "error": expected_calibration_error(believed, right) if answers else None,
            "right": percent(right.tolist()) if answers else None,
            "wrong_and_sure": round(100 * wrong / len(answers), 1) if answers else None,
            "wrong_of_sure": round(100 * wrong / len(sure), 1) if sure else None,
        }
    return result


# Keeping.


def keeping(bench: RealTextBench) -> Result:
    """What is kept by three kinds of salience, as many tokens each."""
    count = bench.passages[SETS[-1]].stop
    saliences = {
        "learned": bench.salience,
        "rarity": bench.model.amortizer.rarity[bench.ids],
        "surprisal": bench.surprisal(count),
    }
    offsets = [bench.tokenizers.token_offsets(text) for text in bench.texts[:count]]
    result: Result = {"answers": {}, "words": {}}
    for name, salience in saliences.items():
        kept = bench.which_kept(salience)
        result["answers"][name] = shares(bench, answers_held(bench, kept))
        result["words"][name] = share_kept(bench.texts[:count], offsets, kept[:count].tolist())
    whole = answers_held(bench, bench.mask > 0)
    result["answers"]["every token"] = shares(bench, whole)
    return result


def answers_held(bench: RealTextBench, kept: Tensor) -> list[bool]:
    """Whether the answer of each question stands among the tokens that its passage has kept."""
    return [
        holds_answer(
            text := bench.texts[each.row],
            each.answers,
            bench.tokenizers.token_offsets(text),
            kept[each.row].tolist(),
        )
        for each in bench.everything
    ]


# Speed.


def speed(bench: RealTextBench, adapter: str | None) -> Result:
    """Through the store, as the command line does it, and without it."""
    start = time.perf_counter()
    encode_texts(bench.model, bench.tokenizers, bench.texts[:512], batch_size=16)
    encoded = min(512, len(bench.texts)) / (time.perf_counter() - start)
    documents = [Document(str(row), text) for row, text in enumerate(bench.texts)]
    each_set = -(-TIMED // len(SETS))
    asked = [each.question for part in bench.asked.values() for each in part[:each_set]]
    milliseconds = []
    with (
        TemporaryDirectory(prefix="mbc-real-text-") as directory,
        Memory.create(Path(directory) / "bank.mbc", adapter, device="cpu") as memory,
    ):
        stored = memory.encode(documents, batch_size=16)
        memory.answer(asked[:2])  # what is made once and kept
        for question in asked:
            start = time.perf_counter()
            memory.answer([question], top_k=1, threshold=0 if bench.calibration else None)
            milliseconds.append(1000 * (time.perf_counter() - start))
    return {
        "encoded_per_second": round(encoded, 1),
        "stored_per_second": round(stored.documents / stored.seconds, 1),
        "milliseconds": round(statistics.median(milliseconds)),
        "milliseconds_of_each": [round(each) for each in milliseconds],
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
    }


# What parts share.


def percent(values: Sequence[Any]) -> float:
    return round(100 * float(sum(values)) / len(values), 1)


def shares(bench: RealTextBench, values: Tensor | Sequence[float]) -> dict[str, float]:
    """In percent, of the questions of each set and of all."""
    held = values.tolist() if isinstance(values, Tensor) else values
    return {column: percent(part) for column, part in bench.by_set(held).items()}


def scored(bench: RealTextBench, answers: Sequence[Read]) -> Result:
    exact, f1 = exact_and_f1(bench.everything, answers)
    return {
        "exact_match": shares(bench, exact),
        "f1": shares(bench, f1),
        "answers": [each.text for each in answers],
    }
