"""``knowledge``: bits of knowledge recovered for each bit that is stored.

Documents are generated from closed lists of names, so how much there is to know of each is counted exactly:
every fact is drawn evenly from K values and holds log2 K bits (the setting of Allen-Zhu and Li 2024, "Physics
of language models: part 3.3, knowledge capacity scaling laws", arXiv 2404.05405, section 2). What a method
recovers is bounded from below by its answers, with Fano's inequality (Cover and Thomas, section 2.10): of a
fact that is answered right with probability p, at least log2 K - H(p) - (1 - p) log2(K - 1) bits are known.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.methods.registry import kind_of
from mbc_cli.evaluation.protocols.result import Cell, ProtocolResult, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.metrics import score_answer
from mbc_cli.news.generator import generate_news, possible_answers

_DOCUMENTS = 500
_QUESTIONS = 400


def recovered_bits(values: int, right: float) -> float:
    """The least a fact of ``values`` even values is known, in bits, if answered right this often in [0, 1].

    >>> recovered_bits(8, 1.0), recovered_bits(8, 1 / 8)
    (3.0, 0.0)
    """
    if right <= 1 / values:  # no better than guessing
        return 0.0
    doubt = -sum(share * math.log2(share) for share in (right, 1 - right) if share > 0)
    wrong = (1 - right) * math.log2(values - 1) if values > 2 else 0.0
    return max(0.0, math.log2(values) - doubt - wrong)


def knowledge(setting: ProtocolSetting) -> ProtocolResult:
    """Store generated documents, ask about some of their facts, and weigh what is known against what is kept.

    Raises:
        UsageError: a setting is unknown or out of range.
    """
    setting.check_options("knowledge", documents=None, questions=None)
    count = setting.number("documents", _DOCUMENTS)
    items = list(generate_news(count, seed=setting.seed, split="test", vocabulary="closed"))
    values = possible_answers()
    facts = [
        (kind, question)
        for item in items
        for kind, question in zip(item.answer_kinds, item.questions, strict=True)
    ]
    held = sum(math.log2(values[kind]) for kind, _ in facts)
    per_kind = Counter(kind for kind, _ in facts)
    drawn = random.Random(setting.seed).sample(
        facts, min(setting.number("questions", _QUESTIONS), len(facts))
    )
    documents = [item.document for item in items]
    figures: dict[str, object] = {"documents": count, "facts": len(facts), "bits": held}
    rows: list[list[Cell]] = []
    for name in setting.methods:
        with setting.make(name, {}) as method:
            method.encode(documents, batch_size=setting.batch_size)
            asked: list[Question] = [question for _, question in drawn]
            replies = method.reply(asked, batch_size=setting.batch_size)
            sizes = method.bytes()
        right: defaultdict[str, list[float]] = defaultdict(list)
        for (kind, question), reply in zip(drawn, replies, strict=True):
            right[kind].append(score_answer(reply.answer, question.answers).exact_match)
        recovered = sum(
            per_kind[kind] * recovered_bits(values[kind], sum(scores) / len(scores))
            for kind, scores in right.items()
        )
        codes = sizes.growing.get("codes")
        growing = sum(sizes.growing.values())
        figures[name] = {
            "recovered_bits": recovered,
            "share": recovered / held,
            "per_code_bit": recovered / (8 * codes) if codes else None,
            "per_stored_bit": recovered / (8 * growing) if growing else None,
        }
        rows.append(
            [
                kind_of(name).label,
                recovered,
                100 * recovered / held,
                recovered / (8 * codes) if codes else None,
                recovered / (8 * growing) if growing else None,
            ]
        )
    return ProtocolResult(
        name="knowledge",
        title="Knowledge per stored bit",
        what=(
            f"{count} generated documents hold {len(facts):,} facts of {held:,.0f} bits, each drawn evenly "
            f"from known lists. {len(drawn)} of them were asked; at least as many bits are recovered as "
            "Fano's inequality makes of the answers that were right, by kind of fact. Bits that grow with "
            "the documents are counted as stored."
        ),
        figures=figures,
        tables=[
            Table(
                ["method", "bits recovered", "% of what is there", "per bit of codes", "per stored bit"], rows
            )
        ],
    )
