"""Where a setting's value comes from: flags, then MBC_* variables, then a YAML file, then the default.

The YAML file holds options that several commands share at its top level and a section for each command::

    store: memory.mbc
    device: cpu
    encode:
      batch_size: 32
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.yaml_settings import Tree

DEFAULT_FILE = Path("mbc.yaml")


def option_defaults(tree: Mapping[str, Any], options: Mapping[str, Iterable[str]], source: str) -> Tree:
    """Return the defaults of every command: ``{command: {option: value}}``, nested for command groups.

    Args:
        tree: what the YAML file holds.
        options: option names by command; a group's command is spelled ``"adapter info"``.
        source: the file, for messages.

    Raises:
        UsageError: a key is neither an option nor a command.
    """
    shared: Tree = {}
    sections: dict[str, Tree] = {command: {} for command in options}
    groups = {command.split()[0] for command in options}
    _collect(tree, "", options, sections, shared, groups, source)
    known = {name for names in options.values() for name in names}
    for name in shared:
        if name not in known:
            raise UsageError(f"{source}: unknown key {name!r}", nearest_hint(name, known | groups))
    defaults: Tree = {}
    for command, names in options.items():
        target = defaults
        for part in command.split():
            target = target.setdefault(part, {})
        target.update({name: value for name, value in shared.items() if name in names})
        target.update(sections[command])
    return defaults


def _collect(
    tree: Mapping[str, Any],
    prefix: str,
    options: Mapping[str, Iterable[str]],
    sections: dict[str, Tree],
    shared: Tree,
    groups: set[str],
    source: str,
) -> None:
    for raw_name, value in tree.items():
        name = str(raw_name)
        command = f"{prefix} {name}".strip()
        if command in options and isinstance(value, Mapping):
            for key, setting in value.items():
                option = str(key).replace("-", "_")
                if option not in options[command]:
                    hint = nearest_hint(option, options[command])
                    raise UsageError(f"{source}: command {command!r} has no option {option!r}", hint)
                sections[command][option] = setting
        elif not prefix and name in groups and isinstance(value, Mapping):
            _collect(value, name, options, sections, shared, groups, source)
        elif prefix:
            known = [other.split()[1] for other in options if other.startswith(f"{prefix} ")]
            raise UsageError(f"{source}: {prefix!r} has no command {name!r}", nearest_hint(name, known))
        else:
            shared[name.replace("-", "_")] = value
