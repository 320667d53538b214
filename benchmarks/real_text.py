"""Measure a memory of telegrams on real text: every figure of docs/results.md.

    python examples/make_real_text.py --fairytaleqa DIR --xquad FILE --wikipedia FILE text/
    python benchmarks/real_text.py text/ --output results.json              # the default adapter
    python benchmarks/real_text.py text/ --adapter DIR --parts finding,kept --questions 40

All test sets share one bank. Answers are greedy; the right one is an exact match with any accepted answer.
What an output file has of other parts stays, if it is of the same adapter, questions and passages.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from real_text_bench import RealTextBench
from real_text_parts import (
    CANDIDATES,
    COLUMNS,
    Result,
    answering,
    confidence,
    finding,
    keeping,
    reading,
    speed,
)
from real_text_words import KINDS, reliability_plot

from mbc_cli.inference.adapters import resolve_adapter


def show_finding(result: Result) -> str:
    recall = result["recall"]
    rows = [
        [name, *(" / ".join(f"{recall[name][k][column]:.1f}" for k in recall[name]) for column in COLUMNS)]
        for name in recall
    ]
    return table(["recall@1 / @5 / @8, %", *COLUMNS], rows)


def show_reading(result: Result) -> str:
    rows = []
    for name, each in result["settings"].items():
        cells = []
        for column in COLUMNS:
            share = each["share_of_gold_text"][column]
            cells.append(f"{score(each, column)} ({'–' if share is None else f'{share:.0f}'})")
        rows.append([name, f"{each['codes']['bank']:.1f}", f"{each['bytes']['bank']:.1f}", *cells])
    tokens = result["tokens"]["bank"]
    heads = ["EM / F1 (% of gold text's EM)", f"codes of {tokens:.1f} tokens", "bytes", *COLUMNS]
    return table(heads, rows)


def show_answers(result: Result) -> str:
    rows = [[name, *(score(each, column) for column in COLUMNS)] for name, each in result["settings"].items()]
    why = [
        [name, *(f"{each[column]:.1f}" for column in COLUMNS)] for name, each in result["failures"].items()
    ]
    return "\n\n".join(
        [
            table(["EM / F1, %", *COLUMNS], rows),
            table([f"codes, best 1 of {CANDIDATES}: % of the questions", *COLUMNS], why),
        ]
    )


def show_confidence(result: Result) -> str:
    if not result:
        return "The adapter is not calibrated."
    answered = result["answered"]
    bins = [
        [f"{each['bin'] / 10:.1f} to {(each['bin'] + 1) / 10:.1f}", str(each["count"])]
        + [f"{100 * each[key]:.1f}" for key in ("confidence", "exact", "f1")]
        for each in answered["all"]["bins"]
    ]
    rows = [["answers given", *(str(answered[column]["count"]) for column in COLUMNS)]]
    for kind, name in (("exact", "exact match"), ("f1", "F1 at least 0.5")):
        for key, label, scale in (
            ("right", "right, %", 1),
            ("error", "expected calibration error", 100),
            ("wrong_and_sure", "wrong with confidence over 0.8, % of answers", 1),
            ("wrong_of_sure", "wrong, % of those over 0.8", 1),
        ):
            values = [answered[column][kind][key] for column in COLUMNS]
            rows.append([f"{name}: {label}", *("–" if v is None else f"{v * scale:.1f}" for v in values)])
    below = f"relevance < {result['threshold']:g}"
    for key, label in (
        ("noticed", f"noticed: passage removed, {below}, %"),
        ("abstained", f"abstained: passage there, {below}, %"),
    ):
        rows.append([label, *(f"{result[key][column]:.1f}" for column in COLUMNS)])
    heads = ["confidence", "answers", "mean confidence, %", "exact match, %", "F1 at least 0.5, %"]
    return "\n\n".join([table(heads, bins), table(["", *COLUMNS], rows)])


def show_kept(result: Result) -> str:
    rows = [
        [name, *(f"{each[column]:.1f}" for column in COLUMNS)] for name, each in result["answers"].items()
    ]
    words = result["words"]
    kinds = [
        [
            kind,
            f"{words['learned'][kind]['words']:,}",
            *(f"{each[kind]['kept']:.1f}" for each in words.values()),
        ]
        for kind in KINDS
    ]
    return "\n\n".join(
        [
            table(["answers kept whole, %, by", *COLUMNS], rows),
            table(["words kept whole, %", "words", *words], kinds),
        ]
    )


def show_speed(result: Result) -> str:
    rows = [
        ["documents encoded a second, model alone", f"{result['encoded_per_second']:.1f}"],
        ["documents encoded and stored a second", f"{result['stored_per_second']:.1f}"],
        [f"ms a question, median of {len(result['milliseconds_of_each'])}", str(result["milliseconds"])],
    ]
    return table(["speed", result["machine"]], rows)


def score(each: Result, column: str) -> str:
    return f"{each['exact_match'][column]:.1f} / {each['f1'][column]:.1f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PARTS: dict[str, tuple[Callable[..., Result], Callable[[Result], str]]] = {
    "finding": (finding, show_finding),
    "reading": (reading, show_reading),
    "answers": (answering, show_answers),
    "confidence": (confidence, show_confidence),
    "kept": (keeping, show_kept),
    "speed": (speed, show_speed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder written by examples/make_real_text.py")
    parser.add_argument("--adapter", help="directory, hub id or bundled name; by default the default adapter")
    parser.add_argument("--questions", type=int, default=120, help="at most so many of each set")
    parser.add_argument("--parts", type=parts, default=list(PARTS), help=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=0, help="of the choice of questions")
    parser.add_argument("--output", type=Path, help="JSON file of all that was measured")
    parser.add_argument("--plot", type=Path, help="SVG file of the reliability of confidence")
    arguments = parser.parse_args()

    directory = resolve_adapter(arguments.adapter).directory
    weights = [directory / "memory.safetensors", *directory.glob("kv_lora/*.safetensors")]
    settings = {
        "weights": digest(weights),
        "data": digest([*arguments.data.glob("test-*.jsonl"), *arguments.data.glob("filler.*.jsonl")]),
        "questions": arguments.questions,
        "seed": arguments.seed,
    }
    measured: Result = {}
    if arguments.output and arguments.output.exists():
        written = json.loads(arguments.output.read_text())
        if {key: written["settings"].get(key) for key in settings} != settings:
            parser.error(f"{arguments.output} is of another adapter or of other questions: name another file")
        measured = written["parts"]

    bench = RealTextBench(arguments.adapter, arguments.data, arguments.questions, arguments.seed)
    settings |= {
        "adapter": str(directory),
        "passages": len(bench.texts),
        "asked": {name: [asdict(each) for each in asked] for name, asked in bench.asked.items()},
    }
    for name in arguments.parts:
        start = time.perf_counter()
        measure, show = PARTS[name]
        measured[name] = measure(bench, arguments.adapter) if name == "speed" else measure(bench)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        if arguments.output:
            whole = {"settings": settings, "parts": measured}
            unfinished = arguments.output.with_name(f"{arguments.output.name}.part")
            unfinished.write_text(json.dumps(whole, ensure_ascii=False, indent=1))
            unfinished.replace(arguments.output)
        print(f"## {name}\n\n{show(measured[name])}\n", flush=True)
    if arguments.plot and measured.get("confidence"):
        bins = measured["confidence"]["answered"]["all"]["bins"]
        arguments.plot.write_text(reliability_plot(bins, "How far confidence can be trusted"))


def digest(paths: Sequence[Path]) -> str:
    """16 hexadecimal digits that change with what the files hold."""
    digests = [sha256(path.read_bytes()).hexdigest() for path in sorted(paths)]
    return sha256("".join(digests).encode()).hexdigest()[:16]


def parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no part is called {', '.join(unknown)}: {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


if __name__ == "__main__":
    main()
