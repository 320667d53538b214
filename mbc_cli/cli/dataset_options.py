"""Options that name a data set, and how it is loaded for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mbc_cli.cli.help_page import INPUT
from mbc_cli.cli.options import count

if TYPE_CHECKING:
    from mbc_cli.corpus.bad_input import BadInputs
    from mbc_cli.corpus.choices import Format
    from mbc_cli.corpus.datasets import QuestionDataset

DatasetName = Annotated[
    str, typer.Option("--dataset", metavar="NAME", help="See `mbc dataset list`.", rich_help_panel=INPUT)
]
Documents = Annotated[
    str | None,
    typer.Option(
        "--documents", metavar="FILE", help="The stream, or the data set's file.", rich_help_panel=INPUT
    ),
]
Questions = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help="Questions with accepted answers (jsonl only).",
        rich_help_panel=INPUT,
    ),
]
DatasetSplit = Annotated[
    str | None, typer.Option("--split", help="Which part of the data set.", rich_help_panel=INPUT)
]
Order = Annotated[
    str,
    typer.Option("--order", metavar="ORDER", help="given, time or shuffled.", rich_help_panel=INPUT),
]
OrderSeed = Annotated[int, count("--seed", "Of everything that is drawn.", least=0)]


def load_named_dataset(
    dataset: str,
    *,
    documents: str | None,
    questions: str | None,
    split: str | None,
    order: str,
    seed: int,
    bad: BadInputs,
    format: Format | None,
    delimiter: str | None,
) -> QuestionDataset:
    """The data set's documents in this order, with its questions; says so where it is only a sample.

    Raises:
        MbcError: there is no such data set, split or order, or it cannot be read.
    """
    from mbc_cli.corpus.datasets import load_dataset
    from mbc_cli.corpus.datasets.ordering import ordered

    found = load_dataset(
        dataset,
        documents=documents,
        questions=questions,
        split=split,
        bad=bad,
        format=format,
        delimiter=delimiter,
    )
    found.documents = ordered(found.documents, order, seed=seed)
    return found
