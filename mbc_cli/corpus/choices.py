"""What a caller chooses about how input is read."""

from __future__ import annotations

from typing import Literal

Format = Literal[
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "text",
    "lines",
    "markdown",
    "html",
    "pdf",
    "docx",
    "mem0",
    "chroma",
    "langchain",
]
OnError = Literal["skip", "fail"]
OnBadTime = Literal["skip", "keep"]
