"""Between text and token ids: the tokenizers and the prompt format of one memory model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.model.batches import AnswerBatch, TokenBatch, TrainingBatch
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.plain_tokenizer import PlainTokenizer
from mbc_cli.model.llm.pretrained import load_saved_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AnyTokenizer: TypeAlias = "PreTrainedTokenizerBase | PlainTokenizer"
Ids: TypeAlias = "list[int] | np.ndarray"
_TOKENIZED_TOGETHER = 64  # documents
IGNORED = -100  # label of a position that has no part in the loss


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a tokenizer: how many, and a digest over their spellings in the order of their ids."""

    size: int
    digest: str

    @classmethod
    def of(cls, tokenizer: AnyTokenizer) -> Vocabulary:
        """LLMs of one family share it, also where their embedding tables are padded to other sizes."""
        tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        digest = hashlib.sha256("\0".join(f"{place} {token}" for token, place in tokens).encode())
        return cls(len(tokens), digest.hexdigest()[:32])


class Tokenizers:
    """Tokenizers for documents, questions and the LLM (they may be the same), and the prompt format."""

    def __init__(
        self,
        config: MemoryConfig,
        document_tokenizer: AnyTokenizer,
        question_tokenizer: AnyTokenizer,
        language_tokenizer: AnyTokenizer,
    ) -> None:
        self.config = config
        self.document_tokenizer = document_tokenizer
        self.question_tokenizer = question_tokenizer
        self.language_tokenizer = language_tokenizer
        end = language_tokenizer.eos_token_id
        self.stop_tokens: tuple[int, ...] = () if end is None else (end,)

    @classmethod
    def from_pretrained(cls, config: MemoryConfig) -> Tokenizers:
        """The tokenizers that the configuration's models come with. Raises MbcError if one is not found."""
        language = load_tokenizer(config.base_model, config.base_revision)
        own = {name: load_tokenizer(model) for name, model in config.encoders.items()}
        return cls(config, own.get("document", language), own.get("question", language), language)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens that the LLM reads."""
        return Vocabulary.of(self.language_tokenizer)

    def encode_documents(self, texts: Sequence[str]) -> TokenBatch:
        """Ids of documents, cut to the amortizer's window, padded on the right."""
        return self.document_batch(self.document_ids(texts))

    def document_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids (S,) int32 of documents, cut to the amortizer's window."""
        longest = self.config.amortization.document_tokens
        # A tokenizer holds some 300 bytes per token while it works.
        return [
            np.array(row, dtype=np.int32)
            for part in batched(texts, _TOKENIZED_TOGETHER)
            for row in self._cut_ids(self.document_tokenizer, part, longest)
        ]

    def document_batch(self, rows: Sequence[Ids]) -> TokenBatch:
        """Ids of documents, padded on the right."""
        return self._padded(self.document_tokenizer, rows, self.config.amortization.document_tokens)

    def encode_questions(self, texts: Sequence[str]) -> TokenBatch:
        """Ids of questions for the question encoder, cut and padded on the right."""
        longest = self.config.amortization.question_tokens
        rows = self._cut_ids(self.question_tokenizer, texts, longest)
        return self._padded(self.question_tokenizer, rows, longest)

    def encode_prompts(self, questions: Sequence[str]) -> TokenBatch:
        """What the LLM reads before it answers, padded on the left so that all answers start together."""
        rows = [self._prompt_ids(question) for question in questions]
        return TokenBatch(*_pad(rows, self._language_padding, left=True))

    def encode_prompt_texts(self, texts: Sequence[str], *, special: bool = True) -> TokenBatch:
        """Whole prompts, padded on the left; ``special`` adds what the LLM's tokenizer puts around a text."""
        rows = self._ids(self.language_tokenizer, texts, special=special)
        return TokenBatch(*_pad(rows, self._language_padding, left=True))

    def encode_answers(self, questions: Sequence[str], answers: Sequence[str]) -> AnswerBatch:
        """Prompts with their answers, for teacher forcing.

        Questions are cut to ``question_tokens`` and answers to ``answer_tokens``, so that one odd example
        cannot exceed the LLM's positions and end a training run.
        """
        prompts = [self._prompt_ids(self._cut(question)) for question in questions]
        # Tokenised apart: the tokens up to the answer are then those that generation starts from.
        ends = list(self.stop_tokens)
        texts = [f" {answer.strip()}" for answer in answers]
        longest = self.config.answer_tokens
        written = [(ids + ends)[:longest] for ids in self._ids(self.language_tokenizer, texts)]
        rows = [prompt + answer for prompt, answer in zip(prompts, written, strict=True)]
        ids, mask = _pad(rows, self._language_padding)
        labels = ids.masked_fill(mask == 0, IGNORED)
        for row, prompt in enumerate(prompts):
            labels[row, : len(prompt)] = IGNORED
        return AnswerBatch(ids, mask, labels)

    def training_batch(
        self,
        documents: Sequence[str],
        questions: Sequence[str],
        answers: Sequence[str],
        question_document: Sequence[int],
    ) -> TrainingBatch:
        """Tokenise documents and questions; ``question_document`` is the row of each question's document."""
        document = self.encode_documents(documents)
        question = self.encode_questions(questions)
        answer = self.encode_answers(questions, answers)
        return TrainingBatch(
            document_ids=document.input_ids,
            document_mask=document.attention_mask,
            question_ids=question.input_ids,
            question_mask=question.attention_mask,
            question_document=torch.tensor(question_document, dtype=torch.int64),
            answer_input_ids=answer.input_ids,
            answer_mask=answer.attention_mask,
            answer_labels=answer.labels,
        )

    def decode_answers(self, token_ids: Int[Tensor, "B n"]) -> list[str]:
        """Generated ids (B, n) -> texts, up to each row's first stop token, without surrounding space."""
        texts = []
        for row in token_ids.tolist():
            ends = [place for place, token in enumerate(row) if token in self.stop_tokens]
            kept = row[: ends[0]] if ends else row
            texts.append(self.language_tokenizer.decode(kept, skip_special_tokens=True).strip())
        return texts

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character span (start, end) of each of the document tokenizer's tokens in ``text``."""
        encoding = self.document_tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return [(start, end) for start, end in encoding["offset_mapping"]]

    def save(self, directory: Path) -> None:
        """Write the tokenizers below ``directory``, one folder for each that differs from the LLM's."""
        own = {"document": self.document_tokenizer, "question": self.question_tokenizer}
        kept = {name: own[name] for name in self.config.encoders}
        for name, tokenizer in {"language": self.language_tokenizer, **kept}.items():
            if isinstance(tokenizer, PlainTokenizer):
                tokenizer = load_tokenizer(str(tokenizer.directory))
            tokenizer.save_pretrained(str(directory / name))

    @classmethod
    def load(cls, config: MemoryConfig, directory: Path) -> Tokenizers:
        """Read what `save` wrote."""
        language = load_saved_tokenizer(directory / "language")
        own = {name: load_saved_tokenizer(directory / name) for name in config.encoders}
        return cls(config, own.get("document", language), own.get("question", language), language)

    @property
    def _language_padding(self) -> int:
        """Any id will do, since padding is masked; GPT-2 has no padding token of its own."""
        tokenizer = self.language_tokenizer
        return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)

    def _prompt_ids(self, question: str) -> list[int]:
        text = self.config.prompt.replace("{question}", question.strip())
        return self._ids(self.language_tokenizer, [text], special=True)[0]

    def _cut(self, question: str) -> str:
        """The question, or as much of it as the configuration's ``question_tokens`` allow."""
        longest = self.config.amortization.question_tokens
        encoding = self.language_tokenizer(
            question, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        offsets = encoding["offset_mapping"]
        return question if len(offsets) <= longest else question[: offsets[longest - 1][1]]

    @staticmethod
    def _cut_ids(tokenizer: AnyTokenizer, texts: Sequence[str], longest: int) -> list[list[int]]:
        rows: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
        return rows

    def _padded(self, tokenizer: AnyTokenizer, rows: Sequence[Ids], longest: int) -> TokenBatch:
        # A decoder that attends to padding sees how far a text is padded: always to the same length then,
        # or a document's codes would depend on the others of its batch.
        width = longest if self.config.attends_to_padding else 1
        return TokenBatch(*_pad(rows, tokenizer.pad_token_id or 0, width=width))

    @staticmethod
    def _ids(tokenizer: AnyTokenizer, texts: Sequence[str], special: bool = False) -> list[list[int]]:
        rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=special)["input_ids"]
        return rows


def _pad(rows: Sequence[Ids], padding: int, *, left: bool = False, width: int = 1) -> tuple[Tensor, Tensor]:
    """Rows of ids as ids and mask (B, S), S the longest row's length but at least ``width``."""
    longest = max([width, *map(len, rows)])
    ids = torch.full((len(rows), longest), padding, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(len(row))
        ids[number, place] = torch.as_tensor(row, dtype=torch.int64)
        mask[number, place] = 1
    return ids, mask
