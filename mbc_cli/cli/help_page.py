"""What ``--help`` shows: plain text, in sections where there is much, that fits on one screen."""

from __future__ import annotations

from typing import Any

INPUT = "Input"
MODEL = "Model"
OUTPUT = "Output"

_FEW = 9  # options, which need no sections
_WIDEST_NAME = 22
_VALUES = {
    "<str>": "TEXT",
    "<int>": "N",
    "<int range>": "N",
    "<float>": "X",
    "<float range>": "X",
    "<path>": "PATH",
}


def write_help(command: Any, context: Any, formatter: Any) -> None:
    """Write the page of a command; in place of its own ``format_help``, whose table is twice as long."""
    arguments = [one for one in command.get_params(context) if one.param_type_name == "argument"]
    options = [
        one for one in command.get_params(context) if one.param_type_name == "option" and not one.hidden
    ]
    formatter.write_usage(context.command_path, " ".join(["[OPTIONS]", *map(argument_name, arguments)]))
    prose, _, examples = command.help.partition("Examples:")
    formatter.write_paragraph()
    formatter.write_text(prose.strip())
    if arguments:
        with formatter.section("Arguments"):
            formatter.write_dl([(argument_name(one), _meaning(one)) for one in arguments], _WIDEST_NAME)
    for title, members in _sections(options).items():
        with formatter.section(title):
            formatter.write_dl([(_flags(one), _meaning(one)) for one in members], _WIDEST_NAME)
    with formatter.section("Examples"):
        for line in filter(None, map(str.strip, examples.splitlines())):
            formatter.write(f"  {line}\n")


def argument_name(argument: Any) -> str:
    """An argument as the usage names it: ``CORPUS...``, or ``[ADAPTER]`` where it may be left out."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def value_name(option: Any) -> str:
    """What an option takes: ``PATH``, ``N``, ``skip|fail``; nothing for a flag."""
    if option.is_flag:
        return ""
    shown: str = option.metavar or option.display_type_rich(ctx=None)
    return _VALUES.get(shown, shown.strip("<>").removeprefix("list[").removesuffix("]"))


def _sections(options: list[Any]) -> dict[str, list[Any]]:
    sections: dict[str, list[Any]] = {"Options": []}
    for option in options:
        panel = OUTPUT if option.name == "help" else option.rich_help_panel
        sections.setdefault(panel if panel and len(options) > _FEW else "Options", []).append(option)
    sections |= {OUTPUT: sections.pop(OUTPUT, [])}  # last
    return {title: members for title, members in sections.items() if members}


def _flags(option: Any) -> str:
    names = [", ".join(sorted(option.opts, key=len)), *option.secondary_opts]
    return f"{' / '.join(names)} {value_name(option)}".rstrip()


def _meaning(parameter: Any) -> str:
    notes = []
    if parameter.show_default and not getattr(parameter, "is_flag", False):
        default = getattr(parameter.default, "value", parameter.default)
        notes += [] if default in (None, "", ()) else [f"default: {default}"]
    notes += [parameter.envvar] if parameter.envvar else []
    return f"{parameter.help} [{'; '.join(notes)}]" if notes else parameter.help
