"""What benchmarks/real_text.py measures with: the test sets in one bank, found in it and read from it."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.inference.adapters import load_adapter
from mbc_cli.metrics import scorable, score_answer
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.telegram.model import TelegramMemoryModel

SETS = ("paragraphs", "xquad", "fairytaleqa", "wikipedia")
FOUND = 8
"""How many passages are found for each question, and read to be ranked once more."""


@dataclass(frozen=True)
class Asked:
    """A question, the answers it accepts, and the row of its passage in the bank."""

    question: str
    answers: tuple[str, ...]
    row: int


@dataclass(frozen=True)
class Read:
    """An answer and the log-likelihood the LLM gave it, in nats."""

    text: str
    log_likelihood: float


@dataclass(frozen=True)
class Ranked:
    """What Q questions find: rows (Q, n), best first by the token score; that score (Q, n); and the score of
    each once the LLM has read it (Q, n), in the same order."""

    rows: Tensor
    found: Tensor
    judged: Tensor

    def best(self, candidates: int) -> tuple[Tensor, Tensor]:
        """Scores and rows (Q, n) where the first ``candidates`` are ranked again, as the model does it."""
        if not candidates:
            return self.found, self.rows
        judged, order = self.judged[:, :candidates].sort(dim=1, descending=True, stable=True)
        rest = self.found[:, candidates:]
        rest = rest + (judged[:, -1:] - rest[:, :1]).clamp_max(0)
        rows = self.rows[:, :candidates].gather(1, order)
        return torch.cat([judged, rest], dim=1), torch.cat([rows, self.rows[:, candidates:]], dim=1)

    def without(self, rows: Tensor) -> Ranked:
        """What is found where one row (Q,) of each question is not in the bank; one passage fewer."""
        order = (self.rows == rows[:, None]).to(torch.int8).sort(dim=1, stable=True).indices[:, :-1]
        return Ranked(*(each.gather(1, order) for each in (self.rows, self.found, self.judged)))


class RealTextBench:
    """An adapter, the passages of all test sets encoded with it, and some questions of each set."""

    model: TelegramMemoryModel

    def __init__(self, adapter: str | None, data: Path, limit: int, seed: int = 0) -> None:
        loaded = load_adapter(adapter, device="cpu")
        if not isinstance(loaded.model, TelegramMemoryModel):
            raise SystemExit("the adapter's method must be telegram")
        self.model = loaded.model.eval()
        self.tokenizers = loaded.tokenizers
        self.calibration = loaded.calibration
        names = [*(f"test-{name}" for name in SETS), "filler"]
        documents = [read_rows(data / f"{name}.documents.jsonl") for name in names]
        self.texts: list[str] = [row["text"] for part in documents for row in part]
        self.ends = torch.tensor([len(part) for part in documents]).cumsum(0).tolist()
        places = {row["id"]: place for place, row in enumerate(row for part in documents for row in part)}
        generator = torch.Generator().manual_seed(seed)
        self.asked: dict[str, list[Asked]] = {}
        for name in SETS:
            every = read_rows(data / f"test-{name}.questions.jsonl")
            every = [row for row in every if scorable(row["answers"])]
            drawn = torch.randperm(len(every), generator=generator)[:limit].tolist()
            self.asked[name] = [
                Asked(row["question"], tuple(row["answers"]), places[row["document_ids"][0]])
                for row in (every[index] for index in sorted(drawn))
            ]
        self._answers: dict[Any, Read] = {}
        self.ids, self.mask, self.salience = self._encoded()
        self.lengths = self.mask.sum(1)
        self.codes = self.kept(self.wanted(self.model.amortizer.slots, self.model.amortizer.kept))

    @property
    def everything(self) -> list[Asked]:
        return [each for asked in self.asked.values() for each in asked]

    @property
    def gold(self) -> Tensor:
        """The row of each question's passage."""
        return torch.tensor([each.row for each in self.everything])

    @property
    def passages(self) -> dict[str, range]:
        """The rows of each test set's passages; what follows them was put there to be mistaken for them."""
        return dict(zip(SETS, map(range, [0, *self.ends], self.ends), strict=False))

    def by_set(self, values: Sequence[Any]) -> dict[str, list[Any]]:
        """``values`` of all questions, parted by test set, and all of them once more."""
        parts, start = {}, 0
        for name, asked in self.asked.items():
            parts[name] = list(values[start : start + len(asked)])
            start += len(asked)
        return parts | {"all": list(values)}

    # Keeping.

    @torch.inference_mode()
    def _encoded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and salience (N, S) of all passages."""
        batch = self.tokenizers.encode_documents(self.texts)
        salience = torch.zeros(batch.input_ids.shape)
        with progress("encoding passages", len(self.texts)) as advance:
            for places in batched(batch.attention_mask.sum(1).argsort().tolist(), 32):
                longest = int(batch.attention_mask[places].sum(1).max())
                part = batch.input_ids[places, :longest], batch.attention_mask[places, :longest]
                salience[places, :longest] = self.model.amortizer(*part).salience
                advance(len(places))
        return batch.input_ids, batch.attention_mask, salience

    def wanted(self, slots: int, kept: float) -> Tensor:
        """How many tokens (N,) each passage keeps in so many slots, at most this share of its tokens."""
        return (kept * self.lengths).ceil().long().clamp(1, slots)

    def kept(self, wanted: Tensor) -> Tensor:
        """Codes (N, T) of the ``wanted`` (N,) most salient tokens of each passage."""
        return self.model.amortizer.keep(self.ids, self.mask, self.salience, wanted)

    def which_kept(self, salience: Tensor) -> Tensor:
        """Whether each token (N, S) is kept by that salience, as many of them as the adapter keeps."""
        wanted = self.wanted(self.model.amortizer.slots, self.model.amortizer.kept)
        ranked = salience.masked_fill(self.mask == 0, -torch.inf)
        rank = ranked.sort(dim=1, descending=True, stable=True).indices.argsort(dim=1)
        return (rank < wanted[:, None]) & (self.mask > 0)

    @cached_property
    def whole(self) -> Tensor:
        """Codes that hold all tokens."""
        return self.kept(self.lengths)

    @torch.inference_mode()
    def surprisal(self, count: int) -> Tensor:
        """How surprised, in nats, the LLM itself is by each token (N, S) of the first ``count`` passages."""
        backbone = self.model.backbone
        beginning = torch.tensor([[backbone.transformer.config.bos_token_id or 0]])
        surprisal = torch.zeros(self.mask.shape)
        with progress("the LLM's surprisal", count) as advance, backbone.without_lora():
            for places in batched(self.lengths[:count].argsort().tolist(), 16):
                longest = int(self.lengths[places].max())
                start = beginning.expand(len(places), 1)
                ids = torch.cat([start, self.ids[places, :longest]], dim=1)
                mask = torch.cat([torch.ones_like(start), self.mask[places, :longest]], dim=1)
                surprisal[places, :longest] = backbone.next_token_losses(ids, mask)[:, 1:]
                advance(len(places))
        return surprisal

    # Finding and reading.

    @cached_property
    def ranked(self) -> Ranked:
        """What all questions find in the bank. One pass serves any number of candidates up to `FOUND`."""
        asked, config = self.everything, self.model.config
        bank = TensorBank(self.codes[..., None])
        shape = len(asked), FOUND
        ranked = Ranked(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape), torch.zeros(shape))
        order = sorted(range(len(asked)), key=lambda place: len(asked[place].question))
        reading = config.reading.model_copy(update={"candidates": FOUND})
        self.model.config = config.model_copy(update={"reading": reading})
        with progress("finding", len(asked)) as advance, torch.inference_mode():
            for places in batched(order, 16):
                texts = [asked[place].question for place in places]
                questions = self.tokenizers.encode_questions(texts)
                found = self.model.read(questions, bank, FOUND)
                again = self.model.read(questions, bank, FOUND, self.tokenizers.encode_prompts(texts))
                same = (found.rows[:, :, None] == again.rows[:, None]).to(torch.int8).argmax(2)
                ranked.rows[places], ranked.found[places] = found.rows, found.scores
                ranked.judged[places] = again.scores.gather(1, same)
                advance(len(places))
        self.model.config = config
        return ranked

    def read(
        self, codes: Tensor | None, weights: Tensor | None = None, *, lora: bool = True, what: str = ""
    ) -> list[Read]:
        """The LLM's answers to all questions after reading codes (Q, k, T), or nothing.

        ``weights`` (Q, k) are those of the passages. What was read before is not read again.
        """
        asked = self.everything
        keys = [self._key(place, codes, weights, lora) for place in range(len(asked))]
        # Alike in length, and those of short answers together: a batch goes on until its last answer ends.
        missing = sorted(
            {key: place for place, key in enumerate(keys) if key not in self._answers}.values(),
            key=lambda place: (min(map(len, asked[place].answers)) // 12, sum(map(len, keys[place][1]))),
        )
        size = 32 if codes is None or codes.shape[1] == 1 else 16
        with progress(f"reading: {what}", len(missing)) as advance:
            for places in batched(missing, size):
                read = self._read(
                    [asked[place].question for place in places],
                    None if codes is None else codes[places],
                    None if weights is None else weights[places],
                    lora,
                )
                self._answers |= zip((keys[place] for place in places), read, strict=True)
                advance(len(places))
        return [self._answers[key] for key in keys]

    def _key(self, place: int, codes: Tensor | None, weights: Tensor | None, lora: bool) -> Any:
        empty = self.model.amortizer.empty
        passages = () if codes is None else tuple(tuple(row[row != empty].tolist()) for row in codes[place])
        return place, passages, None if weights is None else tuple(weights[place].tolist()), lora

    @torch.inference_mode()
    def _read(
        self, questions: Sequence[str], codes: Tensor | None, weights: Tensor | None, lora: bool
    ) -> list[Read]:
        prompts = self.tokenizers.encode_prompts(questions)
        with self._untouched() if not lora else nullcontext():
            prefix = None
            if codes is not None:
                among = torch.arange(codes.shape[0] * codes.shape[1]).view(codes.shape[:2])
                prefix = self.model.reader(codes.flatten(0, 1)).side_by_side(among, weights)
            steps = list(
                self.model.stream(
                    prefix, prompts.input_ids, prompts.attention_mask, stop_tokens=self.tokenizers.stop_tokens
                )
            )
        texts = self.tokenizers.decode_answers(torch.stack([step.ids for step in steps], dim=1))
        likelihoods = torch.stack([step.log_likelihood for step in steps]).sum(0).tolist()
        return [Read(text, each) for text, each in zip(texts, likelihoods, strict=True)]

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """The LLM as it came: without KV-LoRA, and before a passage stands what it met before any text."""
        start, beginning = self.model.reader.start, self.model.backbone.transformer.config.bos_token_id
        learned = start.detach().clone()
        if isinstance(beginning, int):
            start.copy_(self.model.amortizer.embeddings.embed(torch.tensor([beginning]))[0])
        with self.model.backbone.without_lora():
            yield
        start.copy_(learned)


class Bm25:
    """BM25 (Robertson and Zaragoza 2009; k1 = 1.5, b = 0.75) over lower-cased words."""

    def __init__(self, texts: Sequence[str]) -> None:
        documents = [_words(text) for text in texts]
        frequency = Counter(word for words in documents for word in set(words))
        mean = sum(map(len, documents)) / len(documents)
        self._postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self._count = len(documents)
        for row, words in enumerate(documents):
            damping = 1.5 * (0.25 + 0.75 * len(words) / mean)
            for word, count in Counter(words).items():
                rarity = math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
                self._postings[word].append((row, rarity * count * 2.5 / (count + damping)))

    def best(self, question: str, k: int) -> list[int]:
        """The ``k`` best rows; those that share no word with the question come last."""
        scores: dict[int, float] = dict.fromkeys(range(self._count), 0.0)
        for word in _words(question):
            for row, score in self._postings.get(word, ()):
                scores[row] += score
        return sorted(scores, key=scores.__getitem__, reverse=True)[:k]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def exact_and_f1(asked: Sequence[Asked], answers: Sequence[Read]) -> tuple[list[float], list[float]]:
    scores = [score_answer(read.text, each.answers) for each, read in zip(asked, answers, strict=True)]
    return [score.exact_match for score in scores], [score.f1 for score in scores]


def entropy_bytes(codes: Tensor, empty: int) -> Tensor:
    """Bytes (N,) of each passage (N, T), each token coded by how often it occurs in all of them (order-0
    entropy)."""
    present, places, counts = codes.unique(return_inverse=True, return_counts=True)
    counts = counts.double().masked_fill(present == empty, 0)
    bits = -(counts / counts.sum()).log2().masked_fill(present == empty, 0)
    found: Tensor = bits[places].sum(1) / 8
    return found


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Tell on stderr how far work has come, at most every ten seconds and when it is done."""
    start = shown = time.perf_counter()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        if (now := time.perf_counter()) - shown > 10 and done < total:
            shown = now
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    yield advance
    print(f"{what}: {total:,} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
