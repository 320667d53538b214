"""``mbc config``: which settings there are, what they are, and who says so."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import typer

from mbc_cli.cli import output
from mbc_cli.cli.options import Json

app = typer.Typer(help="See every setting, its value and where it comes from.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Setting:
    """``command`` is None for an option that is set alike for every command that has it."""

    command: str | None
    option: str
    value: Any
    source: str
    name: str | None  # of the variable or file


@app.command()
def show(context: typer.Context, json: Json = False) -> None:
    """Show every setting, its value and where it comes from: a variable, a file or the default.

    A flag goes before all of these, so what is shown is what a command does without flags. Options are named
    as in mbc.yaml. What several commands have alike stands there once and without a command (null in JSON,
    a line of it for each setting).

    Examples:

      mbc config show

      mbc --config news.yaml config show --json | jq 'select(.source != "default")'
    """
    root = context.find_root()
    settings = list(_shared(_settings(root.command, root)))
    if json:
        for setting in settings:
            output.write_json(asdict(setting))
        return
    rows = [
        [
            setting.option if setting.command is None else f"{setting.command} {setting.option}",
            setting.value,
            setting.source if setting.name is None else f"{setting.source} {setting.name}",
        ]
        for setting in settings
    ]
    output.write_table(["setting", "value", "from"], rows)


def _settings(command: Any, context: Any, name: str = "") -> Iterator[_Setting]:
    """The settings of a command and those below it, as they would be without flags."""
    for option in command.params:
        if option.param_type_name != "option" or option.is_eager or not option.expose_value:
            continue
        value, source = option.consume_value(context, {})
        yield _Setting(
            name or "mbc", option.name, _plain(option, context, value), *_origin(option, context, source)
        )
    for child, below in getattr(command, "commands", {}).items():
        inside = type(context)(below, info_name=child, parent=context)
        yield from _settings(below, inside, f"{name} {child}".strip())


def _plain(option: Any, context: Any, value: Any) -> Any:
    """The value as the command would get it; as it stands where the command would refuse it."""
    try:
        value = option.get_runtime_param().coerce(value, param=option, ctx=context)
    except Exception:  # of the vendored click, which has no public name
        return value
    return getattr(value, "value", value)


def _origin(option: Any, context: Any, source: Any) -> tuple[str, str | None]:
    if source.name == "ENVIRONMENT":
        automatic = f"{context.auto_envvar_prefix}_{option.name}".upper()
        return "variable", option.envvar if os.environ.get(option.envvar or "") else automatic
    if source.name == "DEFAULT_MAP":
        return "file", str(context.meta["mbc.settings"])
    return "default", None


def _shared(settings: Iterable[_Setting]) -> Iterator[_Setting]:
    """What several commands have alike once and without a command, then the commands that differ from it."""
    groups: dict[str, list[_Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.option, []).append(setting)
    for group in groups.values():
        alike = [replace(setting, command=None) for setting in group]
        usual = max(alike, key=alike.count)
        if alike.count(usual) > 1:
            yield usual
        for setting, anonymous in zip(group, alike, strict=True):
            if anonymous != usual or alike.count(usual) == 1:
                yield setting
