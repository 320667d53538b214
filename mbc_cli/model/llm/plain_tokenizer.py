"""A tokenizer that is all in its tokenizer.json, run by `tokenizers` alone.

`transformers` wraps the same library, and takes a third of a second to import. What it would change in the
file's meaning, a class of a model's own for instance, is left to it (pretrained.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from mbc_cli.model.llm.model_folder import check_folder, tokenizer_config

_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
_NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
_WITHOUT_MEANING = {
    "backend",
    "chat_template",
    "is_local",
    "local_files_only",
    "model_max_length",
    "name_or_path",
}
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "clean_up_tokenization_spaces": (False, None),
    "model_specific_special_tokens": ({},),
    "padding_side": ("right",),
    "truncation_side": ("right",),
}


class PlainTokenizer:
    """As much of a tokenizer of `transformers` as a memory uses, with equal results; from ``directory``."""

    def __init__(self, tokenizer: Tokenizer, names: Mapping[str, str | None], directory: Path) -> None:
        self.directory = directory
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.backend_tokenizer = tokenizer
        self.eos_token_id: int | None = self._id(names.get("eos_token"))
        self.pad_token_id: int | None = self._id(names.get("pad_token"))

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        truncation: bool = False,
        max_length: int | None = None,
        return_offsets_mapping: bool = False,
        verbose: bool = True,
    ) -> dict[str, Any]:
        """Ids, and offsets of characters where wanted: of one text, or a list of each for several."""
        if truncation and max_length is not None:
            self.backend_tokenizer.enable_truncation(max_length)
        texts = [text] if isinstance(text, str) else list(text)
        try:
            encodings = self.backend_tokenizer.encode_batch(texts, add_special_tokens=add_special_tokens)
        finally:
            self.backend_tokenizer.no_truncation()
        found: dict[str, list[Any]] = {"input_ids": [encoding.ids for encoding in encodings]}
        if return_offsets_mapping:
            found["offset_mapping"] = [encoding.offsets for encoding in encodings]
        return {name: rows[0] for name, rows in found.items()} if isinstance(text, str) else dict(found)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        return self.backend_tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)

    def get_vocab(self) -> dict[str, int]:
        """Ids by token."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def __len__(self) -> int:
        """Tokens in all, those added for a purpose included."""
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens stand around a text, or a pair of texts."""
        return self.backend_tokenizer.num_special_tokens_to_add(pair)


def plain_tokenizer(directory: Path) -> PlainTokenizer | None:
    """The tokenizer in ``directory``, or None where `transformers` has to read it.

    Raises:
        UntrustedFileError: a file of the folder is malformed or names one outside.
        Exception: of `tokenizers`, if tokenizer.json is malformed.
    """
    check_folder(directory)
    config, path = tokenizer_config(directory), directory / "tokenizer.json"
    known = {"tokenizer_class", *_NAMED, *_WITHOUT_MEANING, *_FIXED}
    plain = (
        config.get("tokenizer_class") in _CLASSES
        and config.keys() <= known
        and all(config[key] in values for key, values in _FIXED.items() if key in config)
        and all(config.get(name) is None or isinstance(config[name], str) for name in _NAMED)
        and isinstance(config.get("model_max_length", 1), int)
        # Files in which earlier versions kept more tokens.
        and not any((directory / f"{name}.json").exists() for name in ("added_tokens", "special_tokens_map"))
        and path.is_file()
    )
    if not plain:
        return None
    tokenizer = Tokenizer.from_file(str(path))
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    names = {name: config.get(name) for name in _NAMED}
    # `transformers` adds those that are named but not in the file, or not marked there.
    if not special.issuperset(name for name in names.values() if name is not None):
        return None
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    # Empty ones have an error of their own, and of large ones it repairs some.
    if not len(special) + 2 <= size <= 100_000 or tokenizer.padding is not None:
        return None
    return PlainTokenizer(tokenizer, names, directory)
