"""Where a setting's value comes from: flags, then MBC_* variables, then a YAML file, then the default.

The YAML file holds options that several commands share at its top level and a section for each command::

    store: memory.mbc
    device: cpu
    encode:
      batch_size: 32

Configurations of models and training are trees of their own; :func:`override` changes single keys of
them, as ``--set training.epochs=3`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mbc_cli.errors import UsageError, nearest_hint

DEFAULT_FILE = Path("mbc.yaml")

Tree = dict[str, Any]


def read_yaml(path: Path) -> Tree:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UsageError: the file cannot be read, is not YAML, or holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise UsageError(f"cannot read {path}: {failure.strerror or failure}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None
    except yaml.YAMLError as failure:
        raise UsageError(f"{path} is not valid YAML: {_one_line(failure)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path} holds {type(content).__name__} at its top level; accepted: a mapping")
    return content


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


def override(tree: Tree, assignments: Iterable[str], known_keys: Iterable[str]) -> Tree:
    """Return a copy of ``tree`` with each ``dotted.key=value`` set; values are read as YAML.

    Raises:
        UsageError: an assignment has no '=', its value is not YAML, or its key is not one of
            ``known_keys`` (the nearest is named).
    """
    import yaml

    result = deepcopy(tree)
    known = set(known_keys)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        key = key.strip()
        if not separator or not key:
            raise UsageError(
                f"--set received {assignment!r}; accepted: key=value", "for example --set seed=1"
            )
        if key not in known:
            raise UsageError(f"unknown key {key!r}", nearest_key_hint(key, known))
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as failure:
            raise UsageError(f"the value of {key!r} is not valid YAML: {_one_line(failure)}") from None
        *parents, last = key.split(".")
        target: MutableMapping[str, Any] = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _number(value)
    return result


def dotted_keys(model: type[Any], prefix: str = "") -> list[str]:
    """Return the dotted names of every leaf of a pydantic model class."""
    from pydantic import BaseModel

    keys: list[str] = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += dotted_keys(annotation, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def nearest_key_hint(key: str, known: Iterable[str]) -> str:
    """A hint that names the known dotted key closest to ``key``: ``epochs`` means ``training.epochs``."""
    keys = sorted(known)
    last = key.rpartition(".")[2]
    endings = get_close_matches(last, {other.rpartition(".")[2] for other in keys}, n=1, cutoff=0.6)
    candidates = [other for other in keys if endings and other.rpartition(".")[2] == endings[0]]
    closest = get_close_matches(key, candidates, n=1, cutoff=0) or get_close_matches(key, keys, n=1, cutoff=0)
    return f"did you mean {closest[0]!r}?"


def validation_message(failure: Any) -> str:
    """One line for a pydantic ``ValidationError``: every field at fault, what it received, and why."""
    parts = []
    for problem in failure.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        received = problem.get("input")
        reason = problem["msg"].removeprefix("Value error, ")
        shown = f" (received {received!r})" if isinstance(received, str | int | float | bool) else ""
        parts.append(f"{where}: {reason}{shown}" if where else reason)
    return "; ".join(parts)


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-5`` as text; people mean the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _one_line(failure: Exception) -> str:
    return " ".join(str(failure).split())
