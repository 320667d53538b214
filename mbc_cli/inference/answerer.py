"""Questions become answers: read the bank, turn what was read into a prefix, let the frozen LLM continue.

``whole-bank`` reads the histogram of all codes, so its answers come from every document at once and name no
source. ``select`` scores every passage from its codes, reads the best, and names them; where a calibration
says that even the best does not speak to the question, nothing is read and the LLM is left to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.errors import AdapterError, InputError
from mbc_cli.inference.answer import Answer, AnswerStream, Source
from mbc_cli.inference.bank import Bank
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.memory_model import MemoryModel, Prefix, QuestionEncoding
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.tokenizers import TokenBatch, Tokenizers
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a batch of questions reads: answers, as yet without text, and the prefix of those from memory."""

    answers: list[Answer]
    prefix: Prefix | None


class Answerer:
    """Answers questions from one bank with one model, greedily.

    Args:
        calibration: of the adapter; without one the memory is always taken to speak to the question.
    """

    def __init__(
        self, model: MemoryModel, tokenizers: Tokenizers, bank: Bank, calibration: Calibration | None = None
    ) -> None:
        self.model = model.eval()
        self.tokenizers = tokenizers
        self.bank = bank
        self.calibration = calibration

    @torch.inference_mode()
    def answer(
        self,
        questions: Sequence[str],
        *,
        rows: MemoryFilter,
        top_k: int | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
        batch_size: int = 16,
    ) -> list[Answer]:
        """Answer ``questions`` in batches.

        Where the memory does not speak to a question, or no passage may be read, the LLM answers untouched,
        or not at all with ``require_memory``.

        Args:
            threshold: the confidence from which on the memory is read; None is the calibration's own.

        Raises:
            MbcError: a question, with what is read for it, is too long for the LLM; or a threshold is given
                and the adapter is not calibrated.
        """
        answers: list[Answer] = []
        for batch in batched(questions, batch_size):
            reading = self._read(batch, rows, top_k, threshold)
            known = [answer for answer in reading.answers if answer.from_memory]
            unknown = [answer for answer in reading.answers if not answer.from_memory]
            told = iter(self._tell(known, reading.prefix))
            if require_memory:
                own = iter([replace(answer, abstained=True) for answer in unknown])
            else:
                own = iter(self._tell(unknown, None))
            answers += [next(told if answer.from_memory else own) for answer in reading.answers]
        return answers

    def stream(
        self,
        question: str,
        *,
        rows: MemoryFilter,
        top_k: int | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
    ) -> AnswerStream:
        """Answer one question piece by piece: what was read is known at once, the text follows."""
        with torch.inference_mode():
            reading = self._read([question], rows, top_k, threshold)
        (answer,) = reading.answers
        if require_memory and not answer.from_memory:
            return AnswerStream(replace(answer, abstained=True), iter(()))
        return AnswerStream(answer, self._pieces(self.tokenizers.encode_prompts([question]), reading.prefix))

    @torch.inference_mode()
    def without_memory(self, questions: Sequence[str], *, batch_size: int = 16) -> list[Answer]:
        """The untouched LLM's answers to the same prompts: no prefix and no KV-LoRA."""
        answers: list[Answer] = []
        for batch in batched(questions, batch_size):
            self._check_length(self.tokenizers.encode_prompts(batch), 0)
            answers += self._tell([Answer(question, "", from_memory=False) for question in batch], None)
        return answers

    @torch.inference_mode()
    def search(
        self, questions: Sequence[str], *, rows: MemoryFilter, top_k: int, batch_size: int = 16
    ) -> list[tuple[Source, ...]]:
        """The passages that speak most to each question, best first; only for adapters that select.

        Raises:
            MbcError: the adapter reads the whole bank and cannot tell its passages apart.
        """
        model = self.model
        if not isinstance(model, SelectMemoryModel):
            raise AdapterError(
                "this adapter reads the whole bank (aggregation is 'whole-bank'): it cannot rank passages",
                "use an adapter with aggregation.kind select",
            )
        found: list[tuple[Source, ...]] = []
        for batch in batched(questions, batch_size):
            scores, numbers = self.bank.best_rows(model, self._encode(batch), rows, top_k)
            found += self._sources(scores, numbers, len(batch))
        return found

    def _encode(self, questions: Sequence[str]) -> QuestionEncoding:
        batch = self.tokenizers.encode_questions(questions).to(self.model.device)
        return self.model.encode_questions(batch.input_ids, batch.attention_mask)

    def _read(
        self, questions: Sequence[str], rows: MemoryFilter, top_k: int | None, threshold: float | None
    ) -> _Reading:
        """Find what the memory says to a batch of questions."""
        model = self.model
        prompts = self.tokenizers.encode_prompts(questions)
        least = self._least_confidence(threshold)
        if isinstance(model, WholeBankMemoryModel):
            self._check_length(prompts, model.config.modulation.prefix_tokens)
            prefix = self.bank.whole_prefix(model, self._encode(questions), rows)
            return _Reading([Answer(each, "", from_memory=prefix is not None) for each in questions], prefix)
        assert isinstance(model, SelectMemoryModel)
        question = self._encode(questions)
        top_k = top_k or model.config.aggregation.top_k
        scores, numbers = self.bank.best_rows(model, question, rows, top_k)
        read = model.reader.prefix_length(scores.shape[1], model.config.context_vectors)
        self._check_length(prompts, read)
        if not numbers.size:
            return _Reading([Answer(each, "", from_memory=False) for each in questions], None)
        best = scores[:, 0].tolist()
        confidences = self._confidences(best, rows)
        known = [index for index, value in enumerate(confidences) if value is None or value >= least]
        sources = dict(zip(known, self._sources(scores[known], numbers[known], len(known)), strict=True))
        answers = [
            Answer(each, "", sources.get(index, ()), index in sources, score=score, confidence=confidence)
            for index, (each, score, confidence) in enumerate(zip(questions, best, confidences, strict=True))
        ]
        if not known:
            return _Reading(answers, None)
        prefix = self.bank.selected_prefix(model, question, numbers, scores)
        return _Reading(answers, prefix[torch.tensor(known, device=model.device)])

    def _least_confidence(self, threshold: float | None) -> float:
        """The confidence from which on the memory is read."""
        if self.calibration is not None:
            return self.calibration.threshold if threshold is None else threshold
        if threshold:
            raise AdapterError(
                f"threshold is {threshold:g}, but this adapter is not calibrated: it cannot tell how likely "
                "its memory speaks to a question",
                "calibrate it (mbc adapter calibrate; only adapters that select passages), or leave it out",
            )
        return 0.0

    def _confidences(self, scores: Sequence[float], rows: MemoryFilter) -> list[float | None]:
        if self.calibration is None:
            return [None] * len(scores)
        passages = self.bank.passage_count(rows)
        return [self.calibration.confidence(score, passages) for score in scores]

    def _tell(self, answers: Sequence[Answer], prefix: Prefix | None) -> list[Answer]:
        """``answers`` with the text that the LLM gives for their questions after ``prefix``."""
        if not answers:
            return []
        prompts = self.tokenizers.encode_prompts([answer.question for answer in answers])
        texts = self.tokenizers.decode_answers(torch.stack(list(self._tokens(prompts, prefix)), dim=1))
        return [replace(answer, text=text) for answer, text in zip(answers, texts, strict=True)]

    def _sources(self, scores: Tensor, numbers: np.ndarray, questions: int) -> list[tuple[Source, ...]]:
        if not numbers.size:
            return [()] * questions
        distinct, places = np.unique(numbers, return_inverse=True)
        passages = self.bank.passages(distinct)
        return [
            tuple(Source.of(passages[place], score) for place, score in zip(row, row_scores, strict=True))
            for row, row_scores in zip(places.reshape(numbers.shape), scores.tolist(), strict=True)
        ]

    def _check_length(self, prompts: TokenBatch, read: int) -> None:
        """Raise MbcError if the LLM cannot hold ``read`` tokens of memory, the prompts and the answers."""
        positions = getattr(self.model.backbone.transformer.config, "max_position_embeddings", None)
        prompt = prompts.input_ids.shape[1]
        needed = read + prompt + self.model.config.answer_tokens
        if positions is not None and needed > positions:
            raise InputError(
                f"a question of {prompt} tokens, {read} tokens of memory and the answer need {needed} "
                f"positions, but the LLM has {positions}",
                "ask a shorter question" + (", or lower top_k" if read > prompt else ""),
            )

    def _tokens(self, prompts: TokenBatch, prefix: Prefix | None) -> Iterator[Tensor]:
        """The tokens of the answers, (B,) at a time. Without a prefix the LLM is untouched: no KV-LoRA."""
        prompts = prompts.to(self.model.device)
        steps = self.model.stream(
            prefix, prompts.input_ids, prompts.attention_mask, stop_tokens=self.tokenizers.stop_tokens
        )
        while True:
            # Entered for each step: a stream that is left half-read must not leave KV-LoRA switched off.
            with nullcontext() if prefix is not None else self.model.backbone.without_lora():
                token = next(steps, None)
            if token is None:
                return
            yield token

    def _pieces(self, prompts: TokenBatch, prefix: Prefix | None) -> Iterator[str]:
        """New text as it becomes certain: a character split over tokens waits for its last one."""
        ids: list[int] = []
        shown = ""
        for token in self._tokens(prompts, prefix):
            ids.append(int(token))
            text = self.tokenizers.decode_answers(torch.tensor([ids]))[0]
            if text.startswith(shown) and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                if piece := text[len(shown) :]:
                    yield piece
                shown = text
        if ids and (piece := self.tokenizers.decode_answers(torch.tensor([ids]))[0][len(shown) :]):
            yield piece
