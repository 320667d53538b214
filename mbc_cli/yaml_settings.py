"""YAML trees of settings, and single keys of them changed as ``--set training.epochs=3`` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mbc_cli.errors import UsageError

Tree = dict[str, Any]
MOST_BYTES = 2**20


def read_yaml(path: Path) -> Tree:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UsageError: the file cannot be read, is not YAML, or holds something else.
    """
    from mbc_cli.encodings import decode_text
    from mbc_cli.untrusted import UntrustedFileError, parse_yaml

    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is larger than {MOST_BYTES:,} bytes")
        content = parse_yaml(decode_text(path.read_bytes()))
    except OSError as failure:
        raise UsageError(f"cannot read {path}: {failure.strerror or failure}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text") from None
    except UntrustedFileError as failure:
        raise UsageError(f"{path} cannot be used: {failure}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds {type(content).__name__} at its top level; accepted: a mapping")
    return {"yes" if key is True else str(key): value for key, value in content.items()}


def override(tree: Tree, assignments: Iterable[str], known: Mapping[str, set[Any]]) -> Tree:
    """Return a copy of ``tree`` with each ``dotted.key=value`` set.

    Values are read as YAML, except that what a text is wanted for stays as it is written: ``1e5`` and ``012``
    can be names of commits.

    Args:
        known: the types that every key takes (:func:`leaf_types`).

    Raises:
        UsageError: an assignment has no '=', its value is not YAML, or its key is not one of ``known`` (the
            nearest is named).
    """
    result = deepcopy(tree)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        key = key.strip()
        if not separator or not key:
            raise UsageError(
                f"--set received {assignment!r}; accepted: key=value", "for example --set seed=1"
            )
        # A whole section may be given as well, such as {kind: none}.
        if key not in known and not any(other.startswith(f"{key}.") for other in known):
            raise UsageError(f"unknown key {key!r} (received {text!r})", nearest_key_hint(key, known))
        *parents, last = key.split(".")
        target: MutableMapping[str, Any] = result
        for parent in parents:
            if not isinstance(target.get(parent), MutableMapping):
                target[parent] = {}
            target = target[parent]
        target[last] = _value(key, text, known.get(key, set()))
    return result


def _value(key: str, text: str, accepted: set[Any]) -> Any:
    from mbc_cli.untrusted import UntrustedFileError, parse_yaml

    try:
        value = parse_yaml(text)
    except UntrustedFileError as failure:
        raise UsageError(f"the value of {key!r} cannot be used: {failure}") from None
    if str in accepted:
        return value if isinstance(value, str) or (value is None and NoneType in accepted) else text.strip()
    if isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 1e-5 as text; people mean the number
        except ValueError:
            return value
    return value


def leaf_types(model: Any) -> dict[str, set[Any]]:
    """The types that each leaf of a pydantic model class, or of a union of them, takes, by dotted key."""
    from pydantic import BaseModel

    types: dict[str, set[Any]] = {}
    for alternative in _alternatives(model):
        for name, field in alternative.model_fields.items():
            accepted = set(_alternatives(field.annotation))
            models = [each for each in accepted if isinstance(each, type) and issubclass(each, BaseModel)]
            if not models:
                types.setdefault(name, set()).update(accepted)
            for each in models:
                for key, inner in leaf_types(each).items():
                    types.setdefault(f"{name}.{key}", set()).update(inner)
    return types


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The members of a union, of unions in it too; the classes of a literal's values."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _alternatives(member)
    elif origin is Literal:
        yield from {type(value) for value in get_args(annotation)}
    else:
        yield annotation


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
