"""What all configurations are made of: frozen objects without unknown keys, and unions told apart by a key.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, WrapValidator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class FrozenConfig(BaseModel):
    """Base of every configuration object: immutable, and unknown keys are errors that name the nearest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, data: Any) -> Any:
        for key in data if isinstance(data, Mapping) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown {_not_accepted(key, data[key], cls.model_fields)}")
        return data


def one_of(tag: str, kinds: Mapping[str, Any]) -> WrapValidator:
    """Validate a union whose members are told apart by the key ``tag``; without it the first of ``kinds``.

    Unlike pydantic's own discriminator it has a default, names every accepted kind, and leaves the places of
    errors as they stand in the YAML.
    """
    usual = next(iter(kinds))

    def validate(value: Any, handler: Callable[[Any], Any]) -> Any:
        if not isinstance(value, Mapping):
            return value if isinstance(value, BaseModel) and handler(value) else _refuse((), "mapping", value)
        name = value.get(tag, usual)
        if name not in list(kinds):  # a list: what is no text need not be hashable
            return _refuse((tag,), ", ".join(kinds), name)
        accepted = _fields(kinds[name])
        for key in value:
            others = [repr(other) for other, kind in kinds.items() if key in _fields(kind)]
            if key not in accepted and others:
                raise ValueError(
                    f"{tag} {name!r} has no {_not_accepted(key, value[key], accepted)} "
                    f"{key!r} is for {tag} {' or '.join(others)}"
                )
        return TypeAdapter(kinds[name]).validate_python(value)

    return WrapValidator(validate)


def _fields(kind: Any) -> set[str]:
    """The keys of a configuration class, or of all members of a union of them."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return set(kind.model_fields)
    return {name for member in get_args(kind) for name in _fields(member)}


def _not_accepted(key: object, value: object, accepted: Iterable[str]) -> str:
    names = sorted(accepted)
    (nearest,) = get_close_matches(str(key), names, n=1, cutoff=0)
    return f"{key!r} (received {value!r}); accepted: {', '.join(names)}; did you mean {nearest!r}?"


def _refuse(where: tuple[str, ...], accepted: str, received: Any) -> None:
    error = PydanticCustomError("not_accepted", "accepted: {accepted}", {"accepted": accepted})
    raise ValidationError.from_exception_data(
        "config", [InitErrorDetails(type=error, loc=where, input=received)]
    )
