"""Write docs/cli.md from the commands' own help: python docs/generate_cli.py [--check]."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbc_cli.cli.app import EXIT_CODES, build_command, leaf_commands
from mbc_cli.cli.help_page import argument_name, value_name
from mbc_cli.cli.settings import SET_WITHOUT_ASKING

PAGE = Path(__file__).parent / "cli.md"

INTRODUCTION = f"""# The command line

Generated from the commands' help by `python docs/generate_cli.py`; CI checks that it is up to date.

Data goes to stdout and everything else to stderr, so commands can be piped into each other: JSONL in, JSONL
out with `--json`, and `-` reads stdin. Progress bars appear only where stderr is a terminal. `--quiet` leaves
data and errors, `--verbose` says more and shows tracebacks; both go before or after the command. `NO_COLOR`
is respected. `mbc --install-completion` sets up completion for your shell: of commands, options and choices,
and of presets, adapters (bundled, trusted, in folders), stores and their tags.

{EXIT_CODES} Where the reader of a pipe goes away, mbc ends quietly with 141, as other programs do.

With `--json` an error is one line of JSON on stderr, wrong usage included:

```json
{{"error": {{"kind": "store-not-found", "message": "no store at a.mbc", "hint": null, "exit_code": 1}}}}
```

`kind` is a word that programs may rely on ([python-api.md](python-api.md) lists them), `hint` the way out or
null. Notes and warnings stay text; `--quiet` leaves them out.

## Settings

An option's value comes from its flag, else from an `MBC_` variable, else from a YAML file, else from its
default. The variables are those named below and, for every other option, `MBC_<COMMAND>_<OPTION>`, such as
`MBC_ENCODE_BATCH_SIZE`. The file is `mbc.yaml` in the current folder, or what `--config` or `MBC_CONFIG`
names: options that commands share at its top level, and a section for each command. `mbc config show` says
which value each setting has, and which of these it comes from.

```yaml
store: news.mbc
device: cpu
encode:
  batch_size: 32
memory:
  list:
    limit: 20
```

A `mbc.yaml` that is merely found may have come with a download. A line on stderr says that it was read, and
it may only set how work is done and shown, and a store inside its folder:
{", ".join(f"`{name}`" for name in sorted(SET_WITHOUT_ASKING))}.
Any other key, such as `yes`, `purge`, `adapter` or an argument, ends in an error that names it; to allow it,
name the file (`mbc --config mbc.yaml ...`).
"""


def generate() -> str:
    """Return the page."""
    sections = [_section(name, command) for name, command in leaf_commands(build_command()).items()]
    return "\n".join([INTRODUCTION, *sections])


def _section(name: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    ]
    usage = " ".join(["mbc", name, "[OPTIONS]", *(argument_name(argument) for argument in arguments)])
    lines = [f"## mbc {name}", "", "```", usage, "```", "", *_prose(command.help or "")]
    if arguments:
        lines += ["", "| argument | meaning |", "|---|---|"]
        lines += [f"| `{_escaped(argument_name(item))}` | {_meaning(item)} |" for item in arguments]
    lines += ["", "| option | meaning |", "|---|---|"]
    lines += [f"| `{_escaped(_flags(item))}` | {_meaning(item)} |" for item in options if item.name != "help"]
    return "\n".join(lines) + "\n"


def _prose(text: str) -> Iterator[str]:
    """The help's paragraphs; what follows 'Examples:' becomes one block of code."""
    before, _, examples = text.partition("Examples:")
    yield before.strip()
    if commands := [line.strip() for line in examples.splitlines() if line.strip()]:
        yield from ["", "```console", *(f"$ {command}" for command in commands), "```"]


def _flags(option: Any) -> str:
    flags = ", ".join(sorted(option.opts, key=len, reverse=True))
    if option.secondary_opts:
        flags += f" / {option.secondary_opts[0]}"
    return f"{flags} {value_name(option)}".rstrip()


def _meaning(parameter: Any) -> str:
    notes = [parameter.help or ""]
    shown = parameter.show_default is not False and not getattr(parameter, "is_flag", False)
    if shown and parameter.default not in (None, "", ()):
        notes.append(f"Default: `{parameter.default}`.")
    if parameter.envvar:
        notes.append(f"Variable: `{parameter.envvar}`.")
    return _escaped(" ".join(note.strip() for note in notes if note))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> None:
    """Write the page, or with ``--check`` fail if it is not what would be written."""
    page = generate()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit("docs/cli.md is not what the commands' help says: run `make docs` and commit the result")


if __name__ == "__main__":
    main(sys.argv[1:])
