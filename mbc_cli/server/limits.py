"""Where an answer is cut: after so many tokens, or before a text that the caller names."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

from mbc_cli.model.tokenizers import Tokenizers

FinishReason = Literal["stop", "length"]


class TokenCounter:
    """Counts tokens beside the thread that answers: a tokenizer that cuts cannot be shared by threads."""

    def __init__(self, tokenizers: Tokenizers) -> None:
        own = deepcopy(tokenizers.language_tokenizer)
        self._tokenizers = Tokenizers(tokenizers.config, own, own, own)
        self._lock = threading.Lock()

    def prompt(self, question: str) -> int:
        """Tokens that the LLM reads for ``question``, without what is read of the memory."""
        with self._lock:
            return self._tokenizers.encode_prompts([question]).input_ids.shape[1]

    def ends(self, text: str) -> list[int]:
        """Where each token of an answer ends, in characters."""
        if not text:
            return []
        with self._lock:  # an answer follows the prompt after a space
            return [max(end - 1, 0) for _, end in self._tokenizers.token_offsets(f" {text}")]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request says about its answer's length.

    Attributes:
        tokens: at most so many; None is as many as the adapter generates.
        stop: texts before which the answer ends.
    """

    tokens: int | None = None
    stop: tuple[str, ...] = ()

    def cut(self, text: str, counter: TokenCounter) -> tuple[str, FinishReason | None]:
        """``text`` up to its limit, and which one it reached, if any."""
        places = [place for each in self.stop if (place := text.find(each)) >= 0]
        reason: FinishReason | None = "stop" if places else None
        text = text[: min(places)] if places else text
        if self.tokens is not None:
            ends = counter.ends(text)
            if len(ends) > self.tokens:
                return text[: ends[self.tokens - 1]], "length"
        return text, reason

    def held_back(self, text: str) -> int:
        """How many characters at the end of ``text`` may be the beginning of a stop, and must wait."""
        return max((_overlap(text, each) for each in self.stop), default=0)


def _overlap(text: str, stop: str) -> int:
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


def finish_reason(cut: FinishReason | None, tokens: int, most_tokens: int, abstained: bool) -> FinishReason:
    """Why an answer of so many ``tokens`` ended, where the adapter generates ``most_tokens`` at most."""
    if cut is not None or abstained:
        return cut or "stop"
    return "length" if tokens >= most_tokens else "stop"


def as_stops(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """The stops of a request, without empty ones."""
    return tuple(each for each in ([stop] if isinstance(stop, str) else stop or ()) if each)
