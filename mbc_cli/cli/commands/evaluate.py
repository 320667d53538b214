"""``mbc evaluate``: encode a stream of documents, ask about them, report what was answered right."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mbc_cli.cli import output, process
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.completion import stores
from mbc_cli.cli.memory_options import Since, Until, WhereOption
from mbc_cli.cli.options import (
    Adapter,
    BaseModel,
    BatchSize,
    Delimiter,
    Device,
    InputFormat,
    Json,
    OnError,
    Quantize,
    count,
)
from mbc_cli.errors import UsageError
from mbc_cli.files import check_new_file, write_file

if TYPE_CHECKING:
    from mbc_cli.evaluation.vector_memory import AnyMemory
    from mbc_cli.inference.adapters import Loading


class Dataset(StrEnum):
    """Where documents and questions come from."""

    jsonl = "jsonl"
    squad = "squad"
    streamingqa = "streamingqa"
    archivalqa = "archivalqa"


class Baseline(StrEnum):
    """What to compare with."""

    none = "none"
    vectors = "vectors"


def evaluate(
    dataset: Annotated[
        Dataset, typer.Option("--dataset", help="squad without --documents is taken from the hub.")
    ] = Dataset.jsonl,
    documents: Annotated[
        str | None, typer.Option("--documents", metavar="FILE", help="The stream, or the dataset's file.")
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option("--questions", metavar="FILE", help="Questions with accepted answers (jsonl only)."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which part of the hub's.")] = "validation",
    adapter: Adapter = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            "-s",
            metavar="PATH",
            autocompletion=stores,
            help="Keep the bank here; by default it is temporary.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        count("--limit", "Only the first N documents and their questions."),
    ] = None,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    bank_sizes: Annotated[
        str, typer.Option("--bank-sizes", metavar="N,N,...", help="Ask at these numbers of documents too.")
    ] = "",
    baseline: Annotated[
        list[Baseline] | None,
        typer.Option(
            "--baseline",
            help="Compare with the LLM untouched (none) or the bank before quantising (vectors). Repeatable.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="FILE", help="Write every answer with its scores as JSONL."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --predictions.")] = False,
    format: InputFormat = None,
    delimiter: Delimiter = None,
    on_error: OnError = "skip",
    batch_size: BatchSize = 16,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Score a memory by the online-adaptation protocol.

    Documents are encoded in their order; --since, --until and --where choose them. Questions are asked once
    all documents they name are in the bank, and answered greedily through the store on disk. Reported are
    exact match (strict), the published prefix match and token F1, in percent; with --bank-sizes exact match
    on the first documents as later ones arrive; recall of the documents that hold the answer; bytes per
    document, packed, stored and as float32 vectors; milliseconds per document and question.

    The memory is always read here. Of calibrated adapters it is counted how often query would not have read
    it (false abstentions), or would have, had the documents named never been encoded (false answers).

    Examples:

      mbc evaluate --documents val.documents.jsonl --questions val.questions.jsonl --baseline none

      mbc evaluate --dataset squad --documents dev-v1.1.json --bank-sizes 100,400

      mbc evaluate --dataset streamingqa --documents test.csv --json
    """
    from mbc_cli.corpus.datasets import load_dataset
    from mbc_cli.inference.memory_filter import MemoryFilter

    sizes = _sizes(bank_sizes)
    if predictions is not None:
        inputs = [Path(each) for each in (documents, questions) if each is not None]
        if any(each.exists() and predictions.exists() and each.samefile(predictions) for each in inputs):
            raise UsageError(f"--predictions {predictions} would replace an input")
        check_new_file(predictions, force=force)
    bad = counted_bad_inputs(on_error)
    data = load_dataset(
        dataset.value,
        documents=documents,
        questions=questions,
        split=split,
        bad=bad,
        format=format,
        delimiter=delimiter,
    )
    chosen = MemoryFilter.of(since, until, where)
    stream = [document for document in data.documents if chosen.admits(document)][:limit]
    # Not before the input is known to be readable: these take seconds to import.
    with output.progress("loading PyTorch"):
        from mbc_cli.evaluation.protocol import evaluate as run
    from mbc_cli.evaluation.report import as_json, predictions_as_json, table
    from mbc_cli.inference.adapters import Loading

    kept = "" if store is None else f"; what was encoded stays in {store}, and running it again goes on"
    with process.told_if_interrupted(lambda: f"nothing was scored{kept}"), ExitStack() as cleanup:
        loading = Loading(device=device, base_model=base_model, quantize=quantize)
        memory = _memory(adapter, store, loading, cleanup)
        output.note(f"{len(stream):,} documents, adapter {memory.adapter_name}")
        result = run(
            memory,
            stream,
            data.questions,
            bank_sizes=sizes,
            baselines=[each.value for each in baseline or []],
            batch_size=batch_size,
        )
    for question in result.left_out:
        bad.add(f"question {question.id!r}", f"nothing is left of its answers {question.answers} to score by")
    if predictions is not None:
        lines = [dumps(line, ensure_ascii=False) for line in predictions_as_json(result)]
        text = "".join(f"{line}\n" for line in lines)
        if predictions.exists() and not predictions.is_file():  # a pipe or device
            predictions.write_text(text, encoding="utf-8")
        else:
            write_file(predictions, text)
    if json:
        output.write_json({"dataset": dataset.value, "adapter": memory.adapter_name, **as_json(result)})
    else:
        output.write_table(*table(result))
    exit_if_skipped(bad)


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(
            f"--bank-sizes received {text!r}; accepted: numbers parted by commas, such as 16,100,400"
        ) from None


def _memory(adapter: str | None, store: str | None, loading: Loading, cleanup: ExitStack) -> AnyMemory:
    """The memory to evaluate: in ``store``, in a temporary one, or in vectors where there are no codes."""
    from mbc_store import MemoryStore

    from mbc_cli.evaluation.vector_memory import VectorMemory
    from mbc_cli.memory import Memory

    if (store is None or not MemoryStore.exists(store)) and VectorMemory.is_needed(adapter):
        if store is not None:
            raise UsageError(
                "the adapter has no quantiser: its bank is vectors in memory and cannot be kept in a store",
                "leave out --store",
            )
        return VectorMemory.load(adapter, **loading)
    if store is not None:
        return Memory.open_or_create(store, adapter, **loading)
    directory = cleanup.enter_context(TemporaryDirectory(prefix="mbc-evaluate-"))
    return Memory.create(Path(directory) / "bank.mbc", adapter, keep_text=False, **loading)
