"""Cutting long documents into overlapping passages that fit the amortization network's window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mbc_cli.corpus.documents import Document, Passage

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

# A tokenizer and Python hold some 300 bytes per token while they work: long texts go through it in pieces.
PIECE_CHARACTERS = 2**17
SHARED_CHARACTERS = 2**12
"""How many characters neighbouring pieces share, to find where the tokens of both are those of the text."""


def split_document(
    document: Document, token_offsets: TokenOffsets, window: int, overlap: int = 0
) -> list[Passage]:
    """Cut ``document`` into passages of at most ``window`` tokens.

    Every token lies in at least one passage, and neighbours share up to ``overlap`` tokens. A passage
    ends between two words where its last quarter has such a place, so that names stay whole.

    Args:
        document: what to cut.
        token_offsets: returns the (start, end) character offsets of a text's tokens, in order.
        window: longest passage, in tokens.
        overlap: tokens that a passage shares with the one before it; fewer than half of ``window``.

    Returns:
        At least one passage; ``document.text[passage.start:passage.end] == passage.text``.

    Raises:
        ValueError: ``window`` or ``overlap`` is out of range.
    """
    if window < 1:
        raise ValueError(f"window is {window} tokens; accepted: 1 or more")
    if not 0 <= overlap <= (window - 1) // 2:
        raise ValueError(
            f"overlap is {overlap} tokens; accepted: 0 to {(window - 1) // 2}, under half the window"
        )
    text = document.text
    offsets = text_offsets(text, token_offsets)
    if len(offsets) <= window:
        return [Passage(document.id, 0, text, 0, len(text))]
    passages: list[Passage] = []
    first = 0
    while True:
        after = min(first + window, len(offsets))
        if after < len(offsets):
            after = _last_word_boundary(text, offsets, first, after)
        start, end = int(offsets[first, 0]), int(offsets[after - 1, 1])
        passages.append(Passage(document.id, len(passages), text[start:end], start, end))
        if after == len(offsets):
            return passages
        first = max(after - overlap, first + 1)


def text_offsets(text: str, token_offsets: TokenOffsets) -> np.ndarray:
    """Character offsets (tokens, 2) int32 of the tokens of ``text`` that stand for any of it.

    A long text is tokenised in pieces that share ``SHARED_CHARACTERS``. A tokenizer looks no further than
    the word it is in, so in the middle of what they share both pieces have the tokens of the whole text,
    unless one word fills it: such a word is cut after a token, and its rest tokenised by itself.
    """
    pieces = [_piece_offsets(text, 0, token_offsets)]
    end = PIECE_CHARACTERS
    while end < len(text):
        start = end - SHARED_CHARACTERS
        first, last = start + SHARED_CHARACTERS // 4, end - SHARED_CHARACTERS // 4
        following = _piece_offsets(text, start, token_offsets)
        shared = _starting_within(pieces[-1], first, last)
        if len(shared) and np.array_equal(shared, _starting_within(following, first, last)):
            border = int(shared[0, 0])
        else:
            ends = _starting_within(pieces[-1], 0, last)[:, 1]
            start = border = max(first, int(ends.max(initial=0)))
            following = _piece_offsets(text, start, token_offsets)
        pieces[-1] = _starting_within(pieces[-1], 0, border)
        pieces.append(_starting_within(following, border, len(text)))
        end = start + PIECE_CHARACTERS
    return np.concatenate(pieces)


def _piece_offsets(text: str, start: int, token_offsets: TokenOffsets) -> np.ndarray:
    spans = token_offsets(text[start : start + PIECE_CHARACTERS])
    offsets = np.array(spans, dtype=np.int32).reshape(-1, 2)
    return offsets[offsets[:, 1] > offsets[:, 0]] + np.int32(start)


def _starting_within(offsets: np.ndarray, first: int, last: int) -> np.ndarray:
    """Those of ``offsets`` whose token starts at ``first`` or later, and before ``last``."""
    return offsets[(offsets[:, 0] >= first) & (offsets[:, 0] < last)]


def _last_word_boundary(text: str, offsets: np.ndarray, first: int, after: int) -> int:
    """Return the last cut in the final quarter of tokens [first, after) that falls between two words."""
    earliest = after - (after - first) // 4
    for cut in range(after, max(earliest, first + 1) - 1, -1):
        if _between_words(text, offsets[cut - 1, 1], offsets[cut, 0]):
            return cut
    return after


def _between_words(text: str, end: int, start: int) -> bool:
    """Whether white space lies between two neighbouring tokens, or begins the second (as in GPT-2)."""
    return start > end or text[start].isspace() or text[end - 1].isspace()
