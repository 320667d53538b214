"""The protocols by name; a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mbc_cli.evaluation.protocols.result import ProtocolResult
from mbc_cli.evaluation.protocols.setting import ProtocolSetting


@dataclass(frozen=True, slots=True)
class ProtocolKind:
    """A protocol that can be run; ``what`` is one line on it."""

    what: str
    run: Callable[[ProtocolSetting], ProtocolResult]


PROTOCOLS: Mapping[str, ProtocolKind] = {}
