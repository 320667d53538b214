"""``probes``: does the memory know a fact when it sees it, and can it say it by itself?

Recognition: of two answers to a question, the accepted one and that of another question, which does the LLM
hold likelier, token for token? Recall: gaps in the documents' own sentences, to be filled in words. Both with
the memory and without it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Question
from mbc_cli.corpus.made_questions import all_made_questions
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.protocols.result import Cell, ProtocolResult, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.inference.bank import CodeBank
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.memory import Memory
from mbc_cli.metrics import mean_scores, normalize_answer, score_answer
from mbc_cli.model.bank import Bank
from mbc_cli.model.llm.prefix import Prefix

_MOST = 200


def probes(setting: ProtocolSetting) -> ProtocolResult:
    """Recognition on the run's questions, recall on gaps in its documents.

    Raises:
        UsageError: a setting is unknown or out of range.
    """
    setting.check_options("probes", most=None)
    most = setting.number("most", _MOST)
    memory = fresh_memory(setting.memory, setting.folder)
    memory.encode(setting.documents, batch_size=setting.batch_size)
    generator = random.Random(setting.seed)
    asked = [question for question in setting.questions if question.answers]
    asked = generator.sample(asked, min(most, len(asked)))
    pairs = _with_other_answers(asked, generator)
    recognised = {
        name: _recognised(memory, pairs, setting.batch_size, read=read)
        for name, read in (("memory", True), ("no memory", False))
    }
    gaps = all_made_questions(setting.documents, per_document=1, seed=setting.seed)
    gaps = generator.sample(gaps, min(most, len(gaps)))
    recalled = {
        name: _recalled(memory, gaps, setting.batch_size, read=name == "memory") for name in recognised
    }
    rows: list[list[Cell]] = [
        [name, _percent(recognised[name]), _percent(recalled[name])] for name in recognised
    ]
    return ProtocolResult(
        name="probes",
        title="Recognition and recall",
        what=(
            f"Recognition: for {len(pairs)} questions, is the accepted answer likelier than the answer to "
            f"another question (half by chance)? Recall: {len(gaps)} gaps in the documents' sentences, "
            "filled word for word."
        ),
        figures={
            name: {"recognised": share, "recalled": recalled[name]} for name, share in recognised.items()
        },
        tables=[Table(["", "recognised %", "recalled, EM %"], rows)],
    )


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _with_other_answers(
    questions: Sequence[Question], generator: random.Random
) -> list[tuple[Question, str]]:
    """Each question with an answer that another one accepts and it does not."""
    pairs = []
    for question in questions:
        accepted = {normalize_answer(answer) for answer in question.answers}
        others = [
            other.answers[0] for other in questions if normalize_answer(other.answers[0]) not in accepted
        ]
        if others:
            pairs.append((question, generator.choice(others)))
    return pairs


def _recognised(
    memory: AnyMemory, pairs: Sequence[tuple[Question, str]], batch_size: int, *, read: bool
) -> float | None:
    """How often the accepted answer is likelier, per token, than the other; ties count half."""
    if not pairs:
        return None
    won = 0.0
    with torch.inference_mode(), _bank(memory) as bank:
        for batch in batched(list(pairs), batch_size):
            texts = [question.question for question, _ in batch]
            prefix = _read(memory, bank, texts) if read else None
            right = _losses(memory, prefix, texts, [question.answers[0] for question, _ in batch])
            other = _losses(memory, prefix, texts, [answer for _, answer in batch])
            won += float((right < other).sum()) + float((right == other).sum()) / 2
    return won / len(pairs)


def _read(memory: AnyMemory, bank: Bank, questions: Sequence[str]) -> Prefix | None:
    """What the memory's model reads for the questions, as when it answers them."""
    model, tokenizers = memory.model, memory.tokenizers
    prompts = tokenizers.encode_prompts(questions).to(model.device)
    reading = model.read(tokenizers.encode_questions(questions).to(model.device), bank, None, prompts)
    return None if reading.prefix is None else reading.prefix()


def _losses(
    memory: AnyMemory, prefix: Prefix | None, questions: Sequence[str], answers: Sequence[str]
) -> Tensor:
    """Mean negative log-likelihood (B,) of the answers' tokens; without a prefix, of the LLM untouched."""
    model = memory.model
    encoded = memory.tokenizers.encode_answers(questions, answers).to(model.device)
    with nullcontext() if prefix is not None else model.backbone.without_lora():
        losses = model.backbone.next_token_losses(encoded.input_ids, encoded.attention_mask, prefix)
    of_answer = encoded.labels >= 0
    return (losses * of_answer).sum(1) / of_answer.sum(1)


@contextmanager
def _bank(memory: AnyMemory) -> Iterator[Bank]:
    """All that the memory holds, for its model to read."""
    if not isinstance(memory, Memory):
        yield memory.bank().filtered(MemoryFilter())
        return
    with memory.store.snapshot() as snapshot:
        yield CodeBank(snapshot, memory.model.device).filtered(MemoryFilter())


def _recalled(memory: AnyMemory, gaps: Sequence[Question], batch_size: int, *, read: bool) -> float | None:
    if not gaps:
        return None
    texts = [gap.question for gap in gaps]
    if read:
        answers = memory.answer(texts, threshold=0, batch_size=batch_size)
    else:
        answers = memory.answer_without_memory(texts, batch_size=batch_size)
    scores = [score_answer(answer.text, gap.answers) for gap, answer in zip(gaps, answers, strict=True)]
    return mean_scores(scores).exact_match
