"""Presets: a model's configuration with the training settings for it, as YAML files in this folder.

A file may say ``extends: NAME`` and then holds what differs from that preset. Names that begin with an
underscore are only there to be extended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.frozen_config import FrozenConfig
from mbc_cli.training.config import TrainingConfig
from mbc_cli.yaml_settings import leaf_types, override, read_yaml, validation_message

_FOLDER = Path(str(resources.files("mbc_cli.presets")))


class Preset(FrozenConfig):
    """What to build and how to train it."""

    model: MemoryConfig
    training: TrainingConfig = TrainingConfig()


def preset_names() -> list[str]:
    """The names of the presets that come with this package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml") if not path.name.startswith("_"))


def load_preset(name: str, assignments: Sequence[str] = ()) -> Preset:
    """Return a preset with single keys changed.

    Args:
        name: one of :func:`preset_names`, or the path of a YAML file of the same form.
        assignments: ``dotted.key=value``, such as ``training.epochs=3``.

    Raises:
        UsageError: there is no such preset, a key is unknown (the nearest is named), or a value is not
            accepted.
    """
    from pydantic import ValidationError

    tree = _tree(_file(name))
    try:
        return Preset.model_validate(override(tree, assignments, leaf_types(Preset)))
    except ValidationError as failure:
        raise UsageError(f"preset {name}: {validation_message(failure)}") from None


def _tree(path: Path) -> dict[str, Any]:
    """What the file holds, and all that it extends."""
    tree = read_yaml(path)
    extended = tree.pop("extends", None)
    if extended is None:
        return tree
    base = _FOLDER / f"{extended}.yaml"
    if not base.is_file():
        raise UsageError(f"{path} extends {extended!r}", nearest_hint(str(extended), preset_names()))
    return _merged(_tree(base), tree)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _file(name: str) -> Path:
    if name in (names := preset_names()):
        return _FOLDER / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    raise UsageError(f"there is no preset {name!r}", nearest_hint(name, names))
