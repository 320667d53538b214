"""``mbc dataset``: the data sets that are known by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.options import Json, OnError

app = typer.Typer(help="See the data sets known by name, and prepare them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `mbc dataset list` shows.")]


@app.command("list")
def list_datasets(json: Json = False) -> None:
    """List the data sets that `mbc evaluate --dataset` knows, and whether they are in the data folder.

    Where one is not, and the hub cannot be reached either, a small sample is evaluated instead, and says so.
    Data of your own are `--dataset jsonl`, which is meant where none is named.

    Examples:

      mbc dataset list

      mbc dataset list --json | jq -r .name
    """
    from mbc_cli.corpus.datasets import KINDS
    from mbc_cli.corpus.datasets.places import data_folder, find_file

    rows = []
    for name, kind in KINDS.items():
        known = kind.description
        here = [split for split, names in known.files.items() if find_file(data_folder() / name, names)]
        rows.append(
            {
                "name": name,
                "what": known.what,
                "languages": known.languages,
                "licence": known.licence,
                "splits": list(known.splits),
                "here": here,
            }
        )
    if json:
        for row in rows:
            output.write_json(row)
    else:
        output.write_table(
            ["name", "what", "here"],
            [[row["name"], row["what"], ", ".join(row["here"]) or "-"] for row in rows],
        )


@app.command("show")
def show(name: Name, json: Json = False) -> None:
    """Show what a data set is, its licence and source, and which files go where.

    Examples:

      mbc dataset show archivalqa

      mbc dataset show squad --json | jq -r .source
    """
    from mbc_cli.corpus.datasets import KINDS, how_to_get
    from mbc_cli.corpus.datasets.places import data_folder, find_file
    from mbc_cli.errors import UsageError, nearest_hint

    if name not in KINDS:
        raise UsageError(f"unknown data set {name!r}", nearest_hint(name, KINDS))
    known = KINDS[name].description
    folder = data_folder() / name
    files = {
        split: {"names": list(names), "here": _text(find_file(folder, names))}
        for split, names in known.files.items()
    }
    if json:
        output.write_json(
            {
                "name": name,
                "what": known.what,
                "languages": known.languages,
                "splits": dict(known.splits),
                "licence": known.licence,
                "citation": known.citation,
                "source": known.source,
                "folder": str(folder),
                "files": files,
                "how_to_get": how_to_get(known),
            }
        )
        return
    fields = {
        "name": name,
        "what": known.what,
        "languages": known.languages,
        "licence": known.licence,
        "citation": known.citation,
        "source": known.source,
        "folder": str(folder),
        "how to get": how_to_get(known),
    }
    output.write_fields(fields, texts=list(fields))
    output.write_table(
        ["split", "what", "file", "here"],
        [
            [split, known.splits[split], known.files[split][0], each["here"] or "-"]
            for split, each in files.items()
        ],
    )


@app.command("prepare")
def prepare(
    name: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Its files, named as published.")],
    passages: Annotated[
        list[Path] | None,
        typer.Option("--passages", metavar="FILE", help="Your copy of the corpus. Repeatable."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="By default its place in MBC_DATA."),
    ] = None,
    on_error: OnError = "skip",
    json: Json = False,
) -> None:
    """Put a data set into the data folder, in its published form.

    Files that hold texts and questions are read, counted and copied. StreamingQA and ArchivalQA publish
    questions alone: --passages names the corpus that you have a licence for, as records with a text and the
    id that the questions name (sorting_key or id; doc_id and para_num), in any format that `mbc encode`
    reads. Questions without their passage are counted and left out.

    Examples:

      mbc dataset prepare squad dev-v2.0.json train-v2.0.json

      mbc dataset prepare archivalqa ArchivalQA_test.csv --passages nyt.jsonl.gz

      MBC_DATA=/data/sets mbc dataset prepare xquad xquad.*.json
    """
    from mbc_cli.corpus.datasets.prepare import prepare as run

    bad = counted_bad_inputs(on_error)
    done = run(name, files, passages=passages or [], folder=folder, bad=bad)
    for each in done:
        if json:
            output.write_json(
                {
                    "path": str(each.path),
                    "split": each.split,
                    "documents": each.documents,
                    "questions": each.questions,
                    "without_passage": each.unmatched,
                }
            )
        else:
            left = f", {each.unmatched:,} without their passage left out" if each.unmatched else ""
            output.write(
                f"{each.path}: {each.split}, {each.documents:,} documents, {each.questions:,} questions{left}"
            )
    exit_if_skipped(bad)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
