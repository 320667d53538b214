"""``mbc search``: the passages that speak to a question, without an answer."""

from __future__ import annotations

from typing import Annotated

from mbc_cli.cli import output
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.memory_options import At, PreferNewer, Probes, Since, Until, WhereOption, check_probes
from mbc_cli.cli.options import (
    DEFAULT_STORE,
    Adapter,
    BaseModel,
    BatchSize,
    Delimiter,
    Device,
    InputFormat,
    Json,
    OnError,
    Quantize,
    Store,
    count,
)
from mbc_cli.cli.passages import write_passages
from mbc_cli.cli.questions import Null, Questions, batches_of, each_answered


def search(
    questions: Questions,
    store: Store = DEFAULT_STORE,
    adapter: Adapter = None,
    top_k: Annotated[int, count("--top-k", "Passages per question.")] = 5,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    at: At = None,
    prefer_newer: PreferNewer = False,
    probes: Probes = None,
    null: Null = False,
    batch_size: BatchSize = 16,
    on_error: OnError = "skip",
    format: InputFormat = None,
    delimiter: Delimiter = None,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Find the passages that speak most to a question, best first; the LLM answers nothing.

    Each passage is shown with its document, its span of characters, its score and its text, or what its codes
    hold in words; with --json one line of JSON per question. Scores are comparable within one adapter and
    have no fixed scale. Adapters that read the whole bank (method whole-bank) cannot rank passages.

    Examples:

      mbc search "museum in Lindholm" --store news.mbc --top-k 3

      mbc search - --json < questions.txt | jq -r '.sources[0].document_id'
    """
    from mbc_store import MemoryStore

    from mbc_cli.inference.memory_filter import MemoryFilter

    bad = counted_bad_inputs(on_error)
    batches = batches_of(questions, batch_size, bad, format=format, delimiter=delimiter, null=null)
    # Wrong conditions, times and paths are told before torch is imported, which takes seconds.
    MemoryFilter.of(since, until, where)
    opened = MemoryStore.open(store, at=at)
    check_probes(opened, probes)

    with output.progress("loading PyTorch"):
        from mbc_cli.inference.answer import Source
        from mbc_cli.memory import Memory

    memory = Memory.open(opened, adapter, device=device, quantize=quantize, base_model=base_model)
    memory.probes = probes

    def found(texts: list[str]) -> list[tuple[Source, ...]]:
        return memory.search(
            texts,
            top_k=top_k,
            since=since,
            until=until,
            where=where,
            prefer_newer=prefer_newer,
            batch_size=batch_size,
        )

    single = len(questions) == 1 and questions != ["-"]
    for batch in batches:
        for question, sources in each_answered(batch, found, bad):
            if sources is None:
                continue
            if json:
                identity = {} if question.id is None else {"id": question.id}
                output.write_json(identity | {"question": question.text, "sources": sources})
                continue
            if not single:
                output.write(f"> {question.text}")
            if not sources:
                output.note("the memory, or what may be read of it, is empty")
            write_passages(sources)
    exit_if_skipped(bad)
