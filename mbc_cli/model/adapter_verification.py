"""Whether an adapter, its LLM included, is what it was when it was written: every file is read as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from mbc_cli.model.adapter import base_of, read_description
from mbc_cli.model.adapter_files import adapter_files, damages, tensors_not_finite


@dataclass(frozen=True, slots=True)
class AdapterVerification:
    """What was found. ``unchecked`` says in words what could not be looked at, None where all was."""

    files: int
    problems: tuple[str, ...]
    unchecked: str | None

    @property
    def sound(self) -> bool:
        return not self.problems


def verify_adapter(directory: Path) -> AdapterVerification:
    """Compare all files with their recorded checksums, and look for numbers that are none in all weights.

    Raises:
        AdapterError: the directory is no adapter, or its config.yaml or one of its files is refused.
    """
    description = read_description(directory)
    recorded, base_recorded = description["files"], description["base_files"]
    config = description["model"]
    names = adapter_files(directory, config.base_model)
    problems = [*damages(directory, recorded, among=names)]
    problems += _not_finite(directory, [name for name in names if name.endswith(".safetensors")])
    unchecked = None if recorded else "config.yaml records no checksums: damage cannot be told"
    base, revision = base_of(config, directory)
    if Path(base).is_absolute() and not Path(base).exists():
        problems.append(f"base model {base} is not there")
    elif Path(base).is_absolute() and base_recorded:
        found = [*damages(Path(base), base_recorded), *_not_finite(Path(base), base_recorded)]
        problems += [f"base model {base}: {problem}" for problem in found]
    elif not config.base_model.startswith("./"):
        at = f"{base} at revision {revision}" if revision else base
        unchecked = (
            unchecked or f"the base model {base}{at} lies elsewhere, and no checksums of it are recorded"
        )
    return AdapterVerification(len(recorded) + len(base_recorded), tuple(problems), unchecked)


def _not_finite(directory: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            for tensor in tensors_not_finite(directory / name):
                yield f"{name}: {tensor} holds NaN or infinite numbers"
        except FileNotFoundError:
            continue  # which its checksum told
        except (OSError, SafetensorError) as error:
            yield f"{name} is no safetensors file: {error}"
