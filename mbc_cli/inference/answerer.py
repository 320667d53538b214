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
from mbc_store import StoredPassage
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.errors import AdapterError, InputError
from mbc_cli.inference.answer import Answer, AnswerStream, Source
from mbc_cli.inference.bank import PassageBank
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.inference.telegrams import TelegramWords, bracketed
from mbc_cli.model.bank import Reading
from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.llm.backbone import GeneratedTokens
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers


@dataclass(frozen=True, slots=True)
class _Found:
    """What memory has for a batch of questions: answers without text, and the prefix of those from memory."""

    answers: list[Answer]
    prefix: Prefix | None


class Answerer:
    """Answers questions from one bank with one model, greedily.

    Args:
        calibration: of the adapter; without one the memory is always taken to speak to the question.
        prefer_newer: of passages that speak to a question about as much as the best one, read the newest.
    """

    def __init__(
        self,
        model: MemoryModel,
        tokenizers: Tokenizers,
        bank: PassageBank,
        calibration: Calibration | None = None,
        *,
        prefer_newer: bool = False,
    ) -> None:
        self.model = model.eval()
        self.tokenizers = tokenizers
        self.bank = bank
        self.calibration = calibration
        self.prefer_newer = prefer_newer

    @torch.inference_mode()
    def answer(
        self,
        questions: Sequence[str],
        *,
        filter: MemoryFilter,
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
            found = self._find(batch, filter, top_k, threshold)
            unknown = [answer for answer in found.answers if not answer.from_memory]
            remembered = iter(
                self._with_text([answer for answer in found.answers if answer.from_memory], found.prefix)
            )
            if require_memory:
                others = iter([replace(answer, abstained=True) for answer in unknown])
            else:
                others = iter(self._with_text(unknown, None))
            answers += [next(remembered if answer.from_memory else others) for answer in found.answers]
        return answers

    def stream(
        self,
        question: str,
        *,
        filter: MemoryFilter,
        top_k: int | None = None,
        threshold: float | None = None,
        require_memory: bool = False,
    ) -> AnswerStream:
        """Answer one question piece by piece: what was read is known at once, the text follows."""
        with torch.inference_mode():
            found = self._find([question], filter, top_k, threshold)
        (answer,) = found.answers
        if require_memory and not answer.from_memory:
            return AnswerStream(replace(answer, abstained=True), iter(()), lambda answer: answer)
        steps: list[GeneratedTokens] = []
        pieces = self._pieces(self.tokenizers.encode_prompts([question]), found.prefix, steps)
        return AnswerStream(
            answer, pieces, lambda answer: self._with_confidence(answer, _likelihoods(steps)[0])
        )

    @torch.inference_mode()
    def without_memory(self, questions: Sequence[str], *, batch_size: int = 16) -> list[Answer]:
        """The untouched LLM's answers to the same prompts: no prefix and no KV-LoRA."""
        answers: list[Answer] = []
        for batch in batched(questions, batch_size):
            self._check_length(self.tokenizers.encode_prompts(batch), 0)
            answers += self._with_text([Answer(question, "", from_memory=False) for question in batch], None)
        return answers

    @torch.inference_mode()
    def search(
        self, questions: Sequence[str], *, filter: MemoryFilter, top_k: int, batch_size: int = 16
    ) -> list[tuple[Source, ...]]:
        """The passages that speak most to each question, best first; only for adapters that select.

        Raises:
            MbcError: the adapter reads the whole bank and cannot tell its passages apart.
        """
        if not self.model.ranks_passages:
            raise AdapterError(
                "this adapter reads the whole bank (method is 'whole-bank'): it cannot rank passages",
                "use an adapter with method select",
            )
        found: list[tuple[Source, ...]] = []
        for batch in batched(questions, batch_size):
            reading = self._read(batch, filter, top_k)
            found += self._sources(reading.scores, reading.rows)
        return found

    def _read(self, questions: Sequence[str], filter: MemoryFilter, top_k: int | None) -> Reading:
        """What the model reads for ``questions`` of what ``filter`` lets through."""
        if self.prefer_newer and not self.model.ranks_passages:
            raise AdapterError(
                "prefer_newer is set, but this adapter reads the whole bank (method is 'whole-bank')",
                "leave it out, or use an adapter with method select or telegram",
            )
        if top_k is not None and not self.model.ranks_passages:
            raise AdapterError(
                f"top_k is {top_k}, but this adapter reads the whole bank (method is 'whole-bank')",
                "leave it out, or use an adapter with method select",
            )
        batch = self.tokenizers.encode_questions(questions).to(self.model.device)
        prompts = self.tokenizers.encode_prompts(questions).to(self.model.device)
        times = self._times if self.prefer_newer else None
        return self.model.read(batch, self.bank.filtered(filter), top_k, prompts, times)

    def _times(self, rows: Tensor) -> Tensor:
        """When the passages at ``rows`` (B, n) are from, in microseconds; those without a time are oldest."""
        distinct, places = rows.unique(return_inverse=True)
        passages = self.bank.passages(distinct.cpu().numpy())
        none = -(1 << 62)  # long before all times that can be written
        times = [none if passage.timestamp is None else passage.timestamp for passage in passages]
        return torch.tensor(times, device=rows.device)[places]

    def _find(
        self, questions: Sequence[str], filter: MemoryFilter, top_k: int | None, threshold: float | None
    ) -> _Found:
        """Find what the memory says to a batch of questions."""
        prompts = self.tokenizers.encode_prompts(questions)
        least = self._least_confidence(threshold)
        reading = self._read(questions, filter, top_k)
        self._check_length(prompts, reading.prefix_length)
        if reading.prefix is None:
            return _Found([Answer(each, "", from_memory=False) for each in questions], None)
        best: list[float | None] = [None] * len(questions)
        if self.model.ranks_passages:
            best = reading.scores[:, 0].tolist()
        relevances = self._relevances(best, filter)
        known = [index for index, value in enumerate(relevances) if value is None or value >= least]
        sources = dict(zip(known, self._sources(reading.scores[known], reading.rows[known]), strict=True))
        answers = [
            Answer(
                each,
                "",
                sources.get(index, ()),
                index in sources,
                score=score,
                relevance=relevance,
                confidence=relevance,
            )
            for index, (each, score, relevance) in enumerate(zip(questions, best, relevances, strict=True))
        ]
        if not known:
            return _Found(answers, None)
        prefix = (reading.prompted or reading.prefix)()
        return _Found(answers, prefix[torch.tensor(known, device=self.model.device)])

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

    def _relevances(self, scores: Sequence[float | None], filter: MemoryFilter) -> list[float | None]:
        if self.calibration is None:
            return [None] * len(scores)
        calibration, passages = self.calibration, self.bank.passage_count(filter)
        return [None if score is None else calibration.relevance(score, passages) for score in scores]

    def _with_text(self, answers: Sequence[Answer], prefix: Prefix | None) -> list[Answer]:
        """``answers`` with the text that the LLM gives for their questions after ``prefix``."""
        if not answers:
            return []
        prompts = self.tokenizers.encode_prompts([answer.question for answer in answers])
        steps = list(self._tokens(prompts, prefix))
        texts = self.tokenizers.decode_answers(torch.stack([step.ids for step in steps], dim=1))
        return [
            self._with_confidence(replace(answer, text=text), likelihood)
            for answer, text, likelihood in zip(answers, texts, _likelihoods(steps), strict=True)
        ]

    def _with_confidence(self, answer: Answer, log_likelihood: float) -> Answer:
        """``answer`` with how likely it is right, its own likelihood considered."""
        of_answers = None if self.calibration is None else self.calibration.answers
        if of_answers is None or answer.relevance is None or not answer.from_memory:
            return answer
        return replace(answer, confidence=of_answers.confidence(answer.relevance, log_likelihood))

    def _sources(self, scores: Tensor, rows: Tensor) -> list[tuple[Source, ...]]:
        """The passages at ``rows`` (n, k) with their scores (n, k), for each of n questions."""
        if not rows.numel():
            return [()] * len(rows)
        numbers = rows.cpu().numpy()
        distinct, places = np.unique(numbers, return_inverse=True)
        passages = self.bank.passages(distinct)
        telegrams = self._telegrams(distinct, passages)
        return [
            tuple(
                Source.of(passages[place], score, telegrams[place])
                for place, score in zip(row, row_scores, strict=True)
            )
            for row, row_scores in zip(places.reshape(numbers.shape), scores.tolist(), strict=True)
        ]

    def _telegrams(self, rows: np.ndarray, passages: Sequence[StoredPassage]) -> Sequence[str | None]:
        """What the codes at ``rows`` hold in words, where codes are tokens."""
        if not self.model.codes_are_tokens:
            return [None] * len(rows)
        words = TelegramWords(self.tokenizers.language_tokenizer.backend_tokenizer)
        codes = self.bank.filtered(MemoryFilter()).take(torch.from_numpy(rows))[..., 0].tolist()
        return [
            bracketed(words.pieces(each, passage.text)) for each, passage in zip(codes, passages, strict=True)
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

    def _tokens(self, prompts: TokenBatch, prefix: Prefix | None) -> Iterator[GeneratedTokens]:
        """The answers' tokens, one of each at a time. Without a prefix the LLM is untouched: no KV-LoRA."""
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

    def _pieces(
        self, prompts: TokenBatch, prefix: Prefix | None, steps: list[GeneratedTokens]
    ) -> Iterator[str]:
        """New text as it becomes certain: a character split over tokens waits for its last one.

        What was generated is added to ``steps``.
        """
        ids: list[int] = []
        shown = ""
        for token in self._tokens(prompts, prefix):
            steps.append(token)
            ids.append(int(token.ids))
            text = self.tokenizers.decode_answers(torch.tensor([ids]))[0]
            if text.startswith(shown) and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                if piece := text[len(shown) :]:
                    yield piece
                shown = text
        if ids and (piece := self.tokenizers.decode_answers(torch.tensor([ids]))[0][len(shown) :]):
            yield piece


def _likelihoods(steps: Sequence[GeneratedTokens]) -> list[float]:
    """The log-likelihood of each of B answers, in nats."""
    likelihoods: list[float] = torch.stack([step.log_likelihood for step in steps]).sum(0).tolist()
    return likelihoods
