"""What a store of telegrams has kept of its passages, in words: needs a tokenizer, no model and no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mbc_store import MemoryStore

from mbc_cli.errors import AdapterError
from mbc_cli.inference.adapters import resolve_adapter, resolve_recorded

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Piece(NamedTuple):
    """A stretch of a passage's text that was kept, or lost."""

    text: str
    kept: bool


class TelegramWords:
    """Codes as words, by the tokenizer whose tokens they are."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.get_vocab_size()

    @classmethod
    def of_adapter(cls, directory: Path) -> TelegramWords:
        """Those of the adapter in ``directory``."""
        from tokenizers import Tokenizer

        return cls(Tokenizer.from_file(str(directory / "tokenizers" / "language" / "tokenizer.json")))

    @classmethod
    def of_store(cls, store: MemoryStore, adapter: str | Path | None = None) -> TelegramWords | None:
        """Those of the adapter that made ``store``; None where its codes are not tokens.

        Raises:
            AdapterError: the adapter is not trusted, or is gone.
        """
        made_with = store.config
        if not made_with.shared_counts:
            return None
        location = (
            resolve_recorded(made_with.adapter, made_with.fingerprint, store.location)
            if adapter is None
            else resolve_adapter(adapter)
        )
        words = cls.of_adapter(location.directory)
        if words._vocabulary + 1 != made_with.codebook_size:
            raise AdapterError(
                f"the adapter {location.name} has {words._vocabulary:,} tokens, but {store.location} was "
                f"made with {made_with.codebook_size - 1:,}",
                "name an adapter of the same tokenizer",
            )
        return words

    def text(self, codes: Sequence[int]) -> str:
        """The tokens kept, one after the other, as text; codes (T,) of one passage."""
        return str(self._tokenizer.decode(self._tokens(codes), skip_special_tokens=False)).strip()

    def pieces(self, codes: Sequence[int], text: str | None = None) -> tuple[Piece, ...]:
        """What was kept and lost of a passage of that ``text``; without the text, what was kept."""
        kept = self._tokens(codes)
        if text is None:
            return (Piece(self.text(codes), True),)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        found: list[Piece] = []
        place = 0
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            is_kept = place < len(kept) and token == kept[place]
            place += is_kept
            if found and found[-1].kept == is_kept:
                found[-1] = Piece(found[-1].text + text[start:end], is_kept)
            else:
                found.append(Piece(text[start:end], is_kept))
        return tuple(found)

    def _tokens(self, codes: Sequence[int]) -> list[int]:
        return [int(code) for code in codes if code < self._vocabulary]


def bracketed(pieces: Sequence[Piece]) -> str:
    """One line, with the lost stretches in square brackets.

    Example:
        >>> bracketed([Piece("Mira Okafor", True), Piece(" opened the", False), Piece(" museum.", True)])
        'Mira Okafor [opened the] museum.'
    """
    shown = []
    for text, kept in pieces:
        words = text.strip()
        inside = words if kept else f"[{words}]" if words else ""
        before = " " if text[:1].isspace() else ""
        after = " " if text[-1:].isspace() and words else ""
        shown.append(f"{before}{inside}{after}")
    return " ".join("".join(shown).split())
