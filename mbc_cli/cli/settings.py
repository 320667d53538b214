"""Where a setting's value comes from: flags, then MBC_* variables, then a YAML file, then the default.

The YAML file holds options that several commands share at its top level and a section for each command::

    store: memory.mbc
    device: cpu
    encode:
      batch_size: 32
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbc_store.urls import holds_credentials

from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.yaml_settings import Tree

DEFAULT_FILE = Path("mbc.yaml")


# What a file that nobody named may set: how work is done and shown. It may have come with a download, so it
# cannot consent, choose what is deleted, read or loaded, or say where things are written.
SET_WITHOUT_ASKING = frozenset(
    [
        *(
            "batch_size",
            "commit_every",
            "commit_seconds",
            "device",
            "dry_run",
            "json",
            "on_error",
            "quantize",
            "verbose",
        ),
        *("format", "id_field", "text_field", "timestamp_field", "title_field"),
        *("keep_text", "overlap", "store", "window"),
        *(
            "codes",
            "fallback",
            "limit",
            "offset",
            "prefer_newer",
            "probes",
            "require_memory",
            "sources",
            "stream",
            "threshold",
            "top_k",
        ),
    ]
)

Options = Mapping[str, Mapping[str, bool]]
"""The options of every command, and whether each is a flag; a group's command is spelled "adapter info"."""


def option_defaults(tree: Mapping[str, Any], options: Options, source: str, *, named: bool) -> Tree:
    """Return the defaults of every command: ``{command: {option: value}}``, nested for command groups.

    Args:
        tree: what the YAML file holds.
        source: the file, for messages.
        named: whether the user named the file; otherwise it may set little (``SET_WITHOUT_ASKING``).

    Raises:
        UsageError: a key is neither an option nor a command, may not be set, or has a value of a wrong kind.
    """
    known = {name: flag for names in options.values() for name, flag in names.items()}
    groups = {command.split()[0] for command in options}
    shared: Tree = {}
    sections: dict[str, Tree] = {command: {} for command in options}
    for key, value in tree.items():
        name = _name(key)
        if name in options:
            sections[name] = _section(name, value, options, source)
        elif name in groups and (name not in known or isinstance(value, Mapping)):
            for inner, settings in _mapping(name, value, source).items():
                command = f"{name} {inner}"
                if command not in options:
                    others = [other.split()[1] for other in options if other.startswith(f"{name} ")]
                    raise UsageError(
                        f"{source}: {name!r} has no command {inner!r}", nearest_hint(str(inner), others)
                    )
                sections[command] = _section(command, settings, options, source)
        elif name in known:
            shared[name] = value
        else:
            raise UsageError(f"{source}: unknown key {name!r}", nearest_hint(name, known.keys() | groups))
    for section in (shared, *sections.values()):
        for name, value in section.items():
            _check_value(name, value, known[name], source)
            if not named:
                _check_harmless(name, value, source)
    defaults: Tree = {}
    for command, names in options.items():
        target = defaults
        for part in command.split():
            target = target.setdefault(part, {})
        target.update({name: value for name, value in shared.items() if name in names})
        target.update(sections[command])
    return defaults


def _check_value(name: str, value: Any, flag: bool, source: str) -> None:
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, str) and holds_credentials(item) for item in items):
        raise UsageError(f"{source}: {name!r} is a URL that holds credentials", "leave them out of it")
    wrong = Mapping | list if flag else Mapping | list | bool
    if any(isinstance(item, wrong) for item in items):
        accepted = "true or false" if flag else "a text, in quotes where it could be read as something else"
        raise UsageError(f"{source}: {name!r} is {value!r:.80}; accepted: {accepted}")


def _check_harmless(name: str, value: Any, source: str) -> None:
    here = Path.cwd()
    if name == "store" and ("://" in str(value) or not (here / str(value)).resolve().is_relative_to(here)):
        what = f"name a store outside this folder ({str(value)!r:.80})"
    elif name not in SET_WITHOUT_ASKING:
        what = f"set {name!r}"
    else:
        return
    raise UsageError(
        f"{source} was found here but not named, so it may not {what}",
        f"to allow that, name it: mbc --config {source} ...",
    )


def _section(command: str, value: Any, options: Options, source: str) -> Tree:
    section = {_name(key): setting for key, setting in _mapping(command, value, source).items()}
    for name in section:
        if name not in options[command]:
            hint = nearest_hint(name, options[command])
            raise UsageError(f"{source}: command {command!r} has no option {name!r}", hint)
    return section


def _mapping(name: str, value: Any, source: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{source}: section {name!r} is {value!r:.80}; accepted: options and their values")
    return value


def _name(key: Any) -> str:
    """An option as a YAML key names it. YAML 1.1 reads a bare ``yes`` as true."""
    return "yes" if key is True else str(key).replace("-", "_")
