"""The settings of a method, validated: a method's options are fields of a frozen configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from mbc_cli.errors import UsageError
from mbc_cli.model.frozen_config import FrozenConfig
from mbc_cli.yaml_settings import validation_message

Options = TypeVar("Options", bound=FrozenConfig)


class NoOptions(FrozenConfig):
    """Of methods that have nothing to set."""


def read_options(kind: type[Options], method: str, received: Mapping[str, object]) -> Options:
    """``received`` as ``kind``; what it does not name has its default.

    Raises:
        UsageError: an option is unknown to the method called ``method``, or a value is not accepted.
    """
    if received and not kind.model_fields:
        raise UsageError(f"method {method}: unknown {', '.join(map(repr, received))}: it has no options")
    try:
        return kind.model_validate(dict(received))
    except ValidationError as failure:
        raise UsageError(f"method {method}: {validation_message(failure)}") from None
