"""``adapt-again``: train the adapter on a new period, and see what it still answers of the old one.

The stream is parted in the middle. Of each period half of the documents with questions are learned from, the
others asked about. Four adapters are compared: as it was; trained on the new period; on the new one and a
share of the old (replay); and the mean of the weights as they were and after the training (weight averaging;
Wortsman et al. 2022, arXiv 2203.05482).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Reply
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.protocols.result import Cell, ProtocolResult, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.memory import Memory
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.training.continuing import go_on_training

_STEPS = 40
_REPLAYED = 0.5  # of the old period's documents that can be learned from

Weights = Mapping[str, Tensor]
Period = tuple[list[Document], list[Question], list[Question]]
"""Documents, questions to learn from, questions to ask."""


def adapt_again(setting: ProtocolSetting) -> ProtocolResult:
    """Train on the second half of the stream, and ask about both.

    Raises:
        InputError: a half has nothing to learn from or to ask.
        MbcError: a setting is unknown or out of range, the adapter makes no codes, or training fails.
    """
    setting.check_options("adapt-again", steps=None)
    steps = setting.number("steps", _STEPS)
    if not isinstance(setting.memory, Memory):
        raise InputError("adapt-again needs an adapter that makes codes", "leave the protocol out")
    middle = len(setting.documents) // 2
    old, new = (
        _period(documents, setting.questions, setting.seed)
        for documents in (setting.documents[:middle], setting.documents[middle:])
    )
    generator = random.Random(setting.seed)
    replayed = generator.sample(old[1], max(1, round(_REPLAYED * len(old[1]))))
    model = setting.memory.model
    before = _copied(model.memory_state_dict())
    # What training keeps beside the weights, such as a queue of negatives: each way begins with the same.
    beside = _copied(model.training_state())

    def trained(name: str, questions: Sequence[Question]) -> Weights:
        learned = {each for question in questions for each in question.document_ids}
        documents = [each for each in setting.documents if each.id in learned]
        model.load_training_state(beside)
        with _holding(model, before, before):
            go_on_training(
                model,
                setting.memory.tokenizers,
                documents,
                questions,
                setting.folder / name,
                steps=steps,
                seed=setting.seed,
            )
            after = _copied(model.memory_state_dict())
        model.load_training_state(beside)
        return after

    on_new = trained("new", new[1])
    adapters: dict[str, Callable[[], Weights]] = {
        "as it was": lambda: before,
        "new period": lambda: on_new,
        "new period and replay": lambda: trained("replay", [*new[1], *replayed]),
        "mean of the weights before and after": lambda: _mean(before, on_new),
    }
    rows: list[list[Cell]] = []
    figures: dict[str, object] = {"steps": steps}
    codes: np.ndarray | None = None
    for number, (label, weights) in enumerate(adapters.items()):
        with _holding(model, weights(), before):
            right, found = _asked(setting, setting.folder / f"bank-{number}", [old[2], new[2]])
        codes = found if codes is None else codes
        changed = float((found != codes).mean())
        figures[label] = {"old": right[0], "new": right[1], "codes_changed": changed}
        rows.append([label, 100 * right[0], 100 * right[1], 100 * changed])
    return ProtocolResult(
        name="adapt-again",
        title="Adapting again",
        what=(
            f"{steps} steps on {len(new[1])} questions of the second half of the stream, then "
            f"{len(old[2])} others about the first half and {len(new[2])} about the second, with all "
            f"documents encoded anew. Replay adds {len(replayed)} questions of the first half."
        ),
        figures=figures,
        tables=[Table(["adapter", "EM %, first half", "EM %, second half", "codes changed %"], rows)],
    )


def _period(documents: Sequence[Document], questions: Sequence[Question], seed: int) -> Period:
    """Part the questions about ``documents`` alone by document: some to learn from, some to ask."""
    names = {document.id for document in documents}
    about = [
        each
        for each in questions
        if each.answers and each.document_ids and names.issuperset(each.document_ids)
    ]
    asked_about = sorted({each.document_ids for each in about})
    learned = set(random.Random(seed).sample(asked_about, len(asked_about) // 2))
    parts = [[each for each in about if (each.document_ids in learned) is wanted] for wanted in (True, False)]
    if not all(parts):
        raise InputError(
            f"adapt-again needs questions about two or more documents in each half of the stream; one has "
            f"{len(asked_about)}",
            "give more documents, or leave the protocol out",
        )
    return list(documents), parts[0], parts[1]


def _copied(state: Weights) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _mean(one: Weights, other: Weights) -> Weights:
    """The mean of two models' weights; what is no weight is the second's."""
    return {
        name: (one[name] + value) / 2 if value.dtype.is_floating_point else value
        for name, value in other.items()
    }


@contextmanager
def _holding(model: MemoryModel, weights: Weights, usual: Weights) -> Iterator[None]:
    """The model with other weights, and then with its usual ones again."""
    model.load_memory_state_dict(dict(weights))
    try:
        yield
    finally:
        model.load_memory_state_dict(dict(usual))
        model.eval()


def _asked(
    setting: ProtocolSetting, folder: Path, periods: Sequence[Sequence[Question]]
) -> tuple[list[float], np.ndarray]:
    """Exact match on the questions of each period with all documents encoded, and their codes."""
    folder.mkdir()
    bank = fresh_memory(setting.memory, folder)
    assert isinstance(bank, Memory)
    bank.encode(setting.documents, batch_size=setting.batch_size)
    right = []
    for questions in periods:
        answers = bank.answer(
            [question.question for question in questions],
            threshold=0 if bank.calibration else None,
            batch_size=setting.batch_size,
        )
        predictions = [
            Prediction.of(question, Reply(answer.text), None)
            for question, answer in zip(questions, answers, strict=True)
        ]
        right.append(MEASURES["exact_match"].value(predictions) or 0.0)
    with bank.store.snapshot() as snapshot:
        return right, np.concatenate([codes for _, codes, _ in snapshot.iter_codes(16384)])
