"""Write invented news and questions about them as JSONL, for `mbc evaluate`, `mbc encode` or anything else.

    python examples/make_news.py news/ --documents 1665 --questions 200 --seed 7

The names occur in no training; the same arguments write the same files. It is what `mbc demo` asks.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from mbc_cli.evaluation.demonstration import news_questions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for documents.jsonl and questions.jsonl")
    parser.add_argument("--documents", type=int, default=1665)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    documents, questions = news_questions(arguments.documents, arguments.questions, seed=arguments.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, items in (("documents", documents), ("questions", questions)):
        lines = [json.dumps(asdict(item), ensure_ascii=False) for item in items]
        (arguments.output / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    print(f"{len(documents):,} documents, {len(questions):,} questions in {arguments.output}")


if __name__ == "__main__":
    main()
