"""The protocols by name; a new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mbc_cli.evaluation.protocols.adapt_again import adapt_again
from mbc_cli.evaluation.protocols.equal_memory import equal_memory
from mbc_cli.evaluation.protocols.knowledge import knowledge
from mbc_cli.evaluation.protocols.locality import locality
from mbc_cli.evaluation.protocols.probes import probes
from mbc_cli.evaluation.protocols.result import ProtocolResult
from mbc_cli.evaluation.protocols.retention import retention
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.evaluation.protocols.updates import updates


@dataclass(frozen=True, slots=True)
class ProtocolKind:
    """A protocol that can be run; ``what`` is one line on it."""

    what: str
    run: Callable[[ProtocolSetting], ProtocolResult]


PROTOCOLS: Mapping[str, ProtocolKind] = {
    "retention": ProtocolKind("what is still known of the first documents as others arrive", retention),
    "updates": ProtocolKind("a later document contradicts an earlier one: which answers?", updates),
    "equal-memory": ProtocolKind("accuracy against bytes, at several sizes of each method", equal_memory),
    "knowledge": ProtocolKind("bits of knowledge recovered for each bit stored", knowledge),
    "probes": ProtocolKind("recognising a fact, and filling in a gap", probes),
    "locality": ProtocolKind("what the LLM knew before, with the memory beside it", locality),
    "adapt-again": ProtocolKind("training on a new period: what is kept of the old one", adapt_again),
}
