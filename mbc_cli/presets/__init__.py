"""Presets: a model's configuration with the training settings for it, as YAML files in this folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from mbc_cli.errors import UsageError, nearest_hint
from mbc_cli.model.config import FrozenConfig, MemoryConfig
from mbc_cli.training.config import TrainingConfig
from mbc_cli.yaml_settings import leaf_types, nearest_key_hint, override, read_yaml, validation_message


class Preset(FrozenConfig):
    """What to build and how to train it."""

    model: MemoryConfig
    training: TrainingConfig = TrainingConfig()


def preset_names() -> list[str]:
    """The names of the presets that come with this package."""
    files = resources.files("mbc_cli.presets").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


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

    tree = read_yaml(_file(name))
    known = leaf_types(Preset)
    for key in _leaves(tree):
        if not any(key == other or key.startswith(f"{other}.") for other in known):
            raise UsageError(f"{name}: unknown key {key!r}", nearest_key_hint(key, known))
    try:
        return Preset.model_validate(override(tree, assignments, known))
    except ValidationError as failure:
        raise UsageError(f"preset {name}: {validation_message(failure)}") from None


def _file(name: str) -> Path:
    if name in (names := preset_names()):
        return Path(str(resources.files("mbc_cli.presets"))) / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    raise UsageError(f"there is no preset {name!r}", nearest_hint(name, names))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
