"""``mbc evaluate``: methods take in a stream of documents, and what they answer about it is compared."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mbc_cli.cli import output, process
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.commands.evaluate_compare import compare
from mbc_cli.cli.completion import stores
from mbc_cli.cli.dataset_options import (
    DatasetName,
    DatasetSplit,
    Documents,
    Order,
    OrderSeed,
    Questions,
    load_named_dataset,
)
from mbc_cli.cli.evaluate_options import names, settings_by_name, sizes
from mbc_cli.cli.help_page import INPUT, OUTPUT
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
from mbc_cli.files import check_new_file

if TYPE_CHECKING:
    from mbc_cli.corpus.datasets import QuestionDataset
    from mbc_cli.corpus.documents import Document, Question
    from mbc_cli.evaluation.online import Stream
    from mbc_cli.evaluation.vector_memory import AnyMemory
    from mbc_cli.inference.adapters import Loading

app = typer.Typer(invoke_without_command=True)
app.command("compare")(compare)


@app.callback()
def evaluate(
    context: typer.Context,
    dataset: DatasetName = "jsonl",
    documents: Documents = None,
    questions: Questions = None,
    split: DatasetSplit = None,
    order: Order = "given",
    limit: Annotated[
        int | None, count("--limit", "Only the first N documents and their questions.", panel=INPUT)
    ] = None,
    ask: Annotated[
        int | None, count("--ask", "At most N of the questions, drawn by the seed.", panel=INPUT)
    ] = None,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    methods: Annotated[
        str,
        typer.Option("--methods", "-m", metavar="NAME,...", help="What to compare."),
    ] = "none,memory",
    protocols: Annotated[
        str, typer.Option("--protocols", metavar="NAME,...", help="Further tests, run after the methods.")
    ] = "",
    bank_sizes: Annotated[
        str, typer.Option("--bank-sizes", metavar="N,...", help="Ask at these numbers of documents too.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME.KEY=VALUE", help="A method's or protocol's own setting. Repeatable."
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune",
            metavar="SPLIT|SHARE",
            help="Choose settings on a split, or a share of documents.",
        ),
    ] = None,
    seed: OrderSeed = 0,
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
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write results, predictions and report here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output.", rich_help_panel=OUTPUT)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is in --output.", rich_help_panel=OUTPUT)
    ] = False,
    format: InputFormat = None,
    delimiter: Delimiter = None,
    on_error: OnError = "skip",
    batch_size: BatchSize = 16,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Compare a memory with other methods on the same LLM, documents and questions.

    Methods: none, memory, vectors, whole-bank, text, gold-text, bm25, dense, fine-tuning. Protocols:
    retention, updates, equal-memory, knowledge, probes, locality, adapt-again. docs/evaluation.md explains
    them and what is measured. A --dataset without --documents is looked for in MBC_DATA and on the hub, and
    is else a small sample. --output holds results.json, predictions.jsonl, summary.csv, report.html.

    Examples:

      mbc evaluate --documents docs.jsonl --questions questions.jsonl -m none,memory,bm25

      mbc evaluate --dataset squad --documents dev-v1.1.json --bank-sizes 100,400 -o squad/

      mbc evaluate compare before/ after/
    """
    if context.invoked_subcommand:
        return
    from mbc_cli.inference.memory_filter import MemoryFilter

    if folder is not None:
        _check_folder(folder, [documents, questions], resume=resume, force=force)
    elif resume:
        raise UsageError("--resume needs the folder of the run", "name it with --output")
    at = sizes(bank_sizes)
    bad = counted_bad_inputs(on_error)

    def load(part: str | None) -> QuestionDataset:
        return load_named_dataset(
            dataset,
            documents=documents,
            questions=questions,
            split=part,
            order=order,
            seed=seed,
            bad=bad,
            format=format,
            delimiter=delimiter,
        )

    data = load(split)
    admits = MemoryFilter.of(since, until, where).admits
    streamed = [document for document in data.documents if admits(document)][:limit]
    # Not before the input is known to be readable: these take seconds to import.
    with output.progress("loading PyTorch"):
        from mbc_cli.evaluation.run import Plan, Run
    from mbc_cli.evaluation.methods.registry import METHODS
    from mbc_cli.evaluation.online import Stream
    from mbc_cli.evaluation.protocols.registry import PROTOCOLS
    from mbc_cli.evaluation.results import REPORT
    from mbc_cli.evaluation.summary import table
    from mbc_cli.inference.adapters import Loading

    chosen = names("--methods", methods, METHODS)
    tuning, reported = _parted(tune, load, streamed, data.questions, seed)
    stream = Stream.of(*reported, at)
    stream = stream if ask is None else stream.asking(ask, seed=seed)
    plan = Plan(
        methods=chosen,
        protocols=names("--protocols", protocols, PROTOCOLS),
        options=settings_by_name(settings or [], [*METHODS, *PROTOCOLS]),
        seed=seed,
        batch_size=batch_size,
        tuning=tuning,
        tuned_on=tune or "",
        described={
            "command": shlex.join(["mbc", *sys.argv[1:]]),
            "dataset": dataset,
            "split": data.split,
            "order": order,
            "limit": limit,
            "ask": ask,
            "where": [each for each in (since, until, *(where or [])) if each],
        },
    )
    with process.told_if_interrupted(lambda: _saved(folder, store)), ExitStack() as cleanup:
        loading = Loading(device=device, base_model=base_model, quantize=quantize)
        memory = _memory(adapter, store, loading, cleanup)
        output.note(f"{len(stream.documents):,} documents, adapter {memory.adapter_name}")
        run = Run(memory, stream, plan, data.described(), folder)
        if resume:
            run.resume()
        results = run.execute()
    for question in stream.left_out:
        bad.add(f"question {question.id!r}", f"nothing is left of its answers {question.answers} to score by")
    if json:
        output.write_json(results.as_json())
    else:
        output.write_table(*table(results))
        if folder is not None:
            output.note(f"the report is {folder / REPORT}")
    exit_if_skipped(bad)


def _check_folder(folder: Path, inputs: Sequence[str | None], *, resume: bool, force: bool) -> None:
    """Make the folder of the results, once nothing in it would be lost."""
    from mbc_cli.evaluation.results import FILES

    folder.mkdir(exist_ok=True)
    for name in FILES:
        path = folder / name
        if any(each is not None and path.exists() and path.samefile(each) for each in inputs):
            raise UsageError(f"--output {folder} would replace an input")
        check_new_file(path, force=resume or force)
        if force and not resume:
            path.unlink(missing_ok=True)


def _saved(folder: Path | None, store: str | None) -> str:
    """What an interrupted run has kept."""
    kept = [] if folder is None else [f"what was done is in {folder}, and --resume goes on"]
    kept += [] if store is None else [f"what was encoded stays in {store}"]
    return "; ".join(kept) or "nothing was kept"


def _parted(
    tune: str | None,
    load: Callable[[str | None], QuestionDataset],
    documents: list[Document],
    questions: list[Question],
    seed: int,
) -> tuple[Stream | None, tuple[list[Document], list[Question]]]:
    """What methods' settings are chosen on, and what is left to report."""
    from mbc_cli.evaluation.online import Stream
    from mbc_cli.evaluation.tuning import part_for_tuning

    if tune is None:
        return None, (documents, questions)
    try:
        share = float(tune)
    except ValueError:
        other = load(tune)
        return Stream.of(other.documents, other.questions), (documents, questions)
    if not 0 < share < 1:
        raise UsageError(f"--tune received {tune}; accepted: a split's name, or a share between 0 and 1")
    part, rest = part_for_tuning(documents, questions, share, seed)
    return Stream.of(*part), rest


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
