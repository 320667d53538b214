"""``mbc adapter``: look at adapters and presets, calibrate them, and take over published checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbc_cli.cli import output
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.calibration_report import describe_calibration
from mbc_cli.cli.commands.adapter_trust import trust, verify
from mbc_cli.cli.completion import adapters
from mbc_cli.cli.options import BaseModel, BatchSize, Delimiter, Device, InputFormat, Json, OnError, Quantize
from mbc_cli.errors import AdapterError, InputError, MbcError, nearest_hint

if TYPE_CHECKING:
    from mbc_cli.model.calibration import Calibration
    from mbc_cli.model.config import MemoryConfig

app = typer.Typer(
    help="Look at adapters and presets, check, trust and calibrate them, take over published checkpoints.",
    no_args_is_help=True,
)
app.command()(trust)
app.command()(verify)


@app.command()
def info(
    adapter: Annotated[
        str,
        typer.Argument(metavar="ADAPTER|PRESET", help="A folder, a hub id, 'default', 'news', or a preset."),
    ] = "default",
    json: Json = False,
) -> None:
    """Show what an adapter or preset consists of: parameters by part, beside those of the LLM.

    Nothing is loaded: the parts are built without their weights.

    Examples:

      mbc adapter info

      mbc adapter info llama2-7b

      mbc adapter info ./news-adapter --json
    """
    from mbc_cli.model.build import count_parameters
    from mbc_cli.model.llm.architectures import model_config

    config, llm, description, calibration = _described(adapter)
    counts = count_parameters(config, model_config(llm, config.base_revision))
    language_model = counts.pop("language_model")
    learned = sum(counts.values())
    quantizer = config.quantizer
    fields = {
        **description,
        "base model": config.base_model,
        "method": config.method,
        "quantizer": quantizer.kind,
        "context vectors per passage": config.context_vectors,
    }
    if quantizer.kind == "vocabulary":
        fields |= {"quantizer": "vocabulary", "tokens kept": f"{quantizer.kept:.0%} of a passage"}
    elif quantizer.kind != "none":
        bits = config.context_vectors * quantizer.num_quantizers * _bits(quantizer.codebook_size)
        fields |= {
            "quantizer": f"{quantizer.kind}, {quantizer.codebook}",
            "quantizers": quantizer.num_quantizers,
            "codebook size": quantizer.codebook_size,
            "bytes per passage": bits / 8,
        }
    if calibration is not None:
        fields["calibration"] = calibration.model_dump() if json else describe_calibration(calibration)
    if json:
        parts = {"parameters": counts, "learned": learned, "language_model": language_model}
        output.write_json({name.replace(" ", "_"): value for name, value in fields.items()} | parts)
        return
    output.write_fields(fields)
    rows = [[name, count, f"{count / language_model:.2%}"] for name, count in counts.items()]
    rows += [
        ["learned in all", learned, f"{learned / language_model:.2%}"],
        ["language model", language_model, "100%"],
    ]
    output.write_table(["part", "parameters", "of the LLM"], rows)


@app.command("list")
def list_presets(json: Json = False) -> None:
    """List the presets that mbc adapt can start from.

    Examples:

      mbc adapter list

      mbc adapter list --json
    """
    from mbc_cli.presets import load_preset, preset_names

    presets = {name: load_preset(name).model for name in preset_names()}
    if json:
        for name, model in presets.items():
            output.write_json({"preset": name, "base_model": model.base_model, "method": model.method})
        return
    rows = [[name, model.base_model, model.method] for name, model in presets.items()]
    output.write_table(["preset", "base model", "method"], rows)


@app.command()
def calibrate(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER", help="An adapter's folder.", show_default=False, autocompletion=adapters
        ),
    ],
    documents: Annotated[
        str,
        typer.Option(
            "--documents",
            metavar="FILE",
            help="Documents it was not trained on, or a dataset's file.",
            show_default=False,
        ),
    ],
    questions: Annotated[
        str | None, typer.Option("--questions", metavar="FILE", help="Questions that name the documents.")
    ] = None,
    dataset: Annotated[
        str, typer.Option("--dataset", help="jsonl (two files); squad, streamingqa, archivalqa (one).")
    ] = "jsonl",
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", metavar="P", min=0, max=1, help="Read the memory from this probability on."
        ),
    ] = 0.5,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="Let the LLM answer what is not in memory, or nobody, by default.",
        ),
    ] = True,
    format: InputFormat = None,
    delimiter: Delimiter = None,
    on_error: OnError = "skip",
    batch_size: BatchSize = 16,
    device: Device = "auto",
    base_model: BaseModel = None,
    json: Json = False,
) -> None:
    """Learn when an adapter's memory speaks to a question, and record it in the adapter.

    Every question is put to a bank of the documents once with the document that it names and once without;
    half of the documents fit the calibration, the other half measures it. mbc adapt does the same with its
    validation data. Stores made with the adapter stay as they are.

    Examples:

      mbc adapter calibrate ./news-adapter --documents val.jsonl --questions val.questions.jsonl

      mbc adapter calibrate ./news-adapter --dataset squad --documents dev-v1.1.json --threshold 0.8
    """
    from mbc_cli.corpus.datasets import load_dataset
    from mbc_cli.inference.adapters import BUNDLED_ADAPTERS, load_on, resolve_adapter

    location = resolve_adapter(adapter)
    if adapter not in BUNDLED_ADAPTERS and location.name != str(location.directory):
        raise AdapterError(
            f"{adapter!r} lies on the hub: a calibration of the downloaded copy would be lost",
            "copy it to a folder (hf download --local-dir) and calibrate that",
        )
    bad = counted_bad_inputs(on_error)
    data = load_dataset(
        dataset,
        documents=documents,
        questions=questions,
        bad=bad,
        sample=False,
        format=format,
        delimiter=delimiter,
    )

    # Not before the input is known to be readable: these take seconds to import.
    from mbc_cli.model.adapter import read_description, refuse_installed, write_calibration
    from mbc_cli.training.calibrate import FEWEST_QUESTIONS
    from mbc_cli.training.calibrate import calibrate as run

    refuse_installed(location.directory)  # before hours of work
    model = read_description(location.directory)["model"]
    if not model.scores_can_be_calibrated:
        raise AdapterError(
            f"{adapter!r} has no scores to calibrate: method is {model.method!r} and "
            f"quantizer.kind {model.quantizer.kind!r}",
            "only adapters that select among codes (select, telegram) can tell what is not in memory",
        )
    loaded = load_on(location, device, base_model=base_model)
    found = run(
        loaded.model,
        loaded.tokenizers,
        data.documents,
        data.answerable,
        threshold=threshold,
        fallback=fallback,
        batch_size=batch_size,
    )
    if found is None:
        raise InputError(
            f"{len(data.answerable):,} questions about {len(data.documents):,} documents tell nothing: "
            f"either fewer than {2 * FEWEST_QUESTIONS} name known documents, or what they ask is not there",
            "give more documents with questions that name them, unseen in training but like those to come",
        )
    write_calibration(location.directory, found)
    if json:
        output.write_json({"adapter": location.name, **found.model_dump()})
    else:
        output.write(f"{location.name}: {describe_calibration(found)}")
    exit_if_skipped(bad)


@app.command("import-reference")
def import_reference(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="A checkpoint of the published code (.pt).", show_default=False
        ),
    ],
    output_directory: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The adapter's folder.", show_default=False)
    ],
    base_model: Annotated[
        str,
        typer.Option(
            "--base-model", metavar="MODEL", help="The LLM it was trained with.", show_default=False
        ),
    ],
    document_t5: Annotated[
        str, typer.Option("--document-t5", metavar="MODEL", help="The T5 that reads documents.")
    ] = "t5-small",
    question_t5: Annotated[
        str | None,
        typer.Option(
            "--question-t5", metavar="MODEL", help="The T5 that reads questions; by default the same."
        ),
    ] = None,
    lora_alpha: Annotated[
        float | None, typer.Option("--lora-alpha", help="Scale of KV-LoRA; by default twice the rank.")
    ] = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Turn a checkpoint of the published implementation into an adapter.

    The checkpoint holds no configuration: dimensions are read off its tensors, and the models it was
    trained with must be named, as hub ids or folders. Nothing in the file is executed.

    Examples:

      mbc adapter import-reference model.pt --base-model distilgpt2 -o published

      mbc adapter import-reference x.pt --base-model gpt2-xl --document-t5 t5-large --question-t5 t5-base -o x
    """
    from mbc_cli.inference.trust import remember_adapter
    from mbc_cli.model.adapter_files import check_unused
    from mbc_cli.model.import_reference import import_reference as run

    check_unused(output_directory)
    model = run(
        checkpoint,
        output_directory,
        base_model=base_model,
        document_t5=document_t5,
        question_t5=question_t5 or document_t5,
        lora_alpha=lora_alpha,
        quantize=quantize,
    )
    remember_adapter(output_directory, model.fingerprint())
    if json:
        output.write_json({"directory": output_directory, "fingerprint": model.fingerprint()})
    else:
        output.write(f"{output_directory}: adapter written, fingerprint {model.fingerprint()}")


def _described(adapter: str) -> tuple[MemoryConfig, str, dict[str, Any], Calibration | None]:
    """The configuration of an adapter or preset, where its LLM is, its names, and its calibration."""
    from mbc_cli.inference.adapters import BUNDLED_ADAPTERS, resolve_adapter
    from mbc_cli.model.adapter import base_of, read_description
    from mbc_cli.presets import load_preset, preset_names

    names = preset_names()
    if adapter in names and not Path(adapter).is_dir():
        config = load_preset(adapter).model
        return config, config.base_model, {"preset": adapter}, None
    try:
        location = resolve_adapter(adapter)
    except MbcError:
        if "/" in adapter or adapter in BUNDLED_ADAPTERS:
            raise
        raise AdapterError(f"{adapter!r} is no adapter and no preset", nearest_hint(adapter, names)) from None
    described = read_description(location.directory)
    config = described["model"]
    llm, _ = base_of(config, location.directory)
    shown = {"adapter": location.name, "fingerprint": described["fingerprint"]}
    return config, llm, shown, described["calibration"]


def _bits(codes: int) -> int:
    """Bits that tell ``codes`` codes apart."""
    return (codes - 1).bit_length()
