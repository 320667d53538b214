"""Questions made from plain text, for those who have documents and no questions about them.

A sentence loses a piece (a gap: a person, place, organisation, number, date or thing), and what asks for that
piece takes its place: as a question in the usual order of words where the sentence allows it, else where the
gap was. Or a sentence stops in the middle and is to be continued. No model is needed; the rules are for
English, and rough. The same seed makes the same questions of a document, whatever stands beside it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mbc_cli.corpus.documents import Document, Question

Kind = Literal["person", "place", "organisation", "name", "number", "date", "thing", "continuation"]

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_CAPITAL = r"(?:[A-Z][\w'’.-]*[\w]|[A-Z])"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}} {_MONTH}(?: \d{{4}})?|{_MONTH} \d{{1,2}}(?:, \d{{4}})?|{_MONTH}(?: \d{{4}})?|{_DAY}"
    r"|(?:1[4-9]|20)\d\d)\b"
)
_NUMBER = re.compile(
    r"(?<![\w:./-])[$€£]?\d+(?:,\d{3})*(?:\.\d+)?"
    r"(?:(?: (?:million|billion|trillion|thousand|percent|per cent))|%)?(?![\w:/-]|[.,]\d)"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b(?! of\b)"
)
_NAME = re.compile(rf"\b{_CAPITAL}(?: (?:of the |of |de |van |von |& )?{_CAPITAL})*")
_THING = re.compile(
    r"\b(?:a|an|the) (?:[a-z-]+ ){0,2}[a-z-]{3,}"
    r"(?= (?:of|in|on|at|for|by|to|from|with|and|that|which|who|was|is|were|are)\b|[,.;])"
)
_ORGANISATION = re.compile(
    r"\b(?:University|College|School|Company|Corporation|Inc|Ltd|Group|Bank|Council|Party|Ministry|Museum"
    r"|Club|United|Association|Society|League|Institute|Agency|Committee|Union|Records|Church|Orchestra)\b"
)
_TITLE = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Sir|Professor|President|Senator|Captain|King|Queen|Saint)\.?"
    r"|\b(?:minister|chief|director|author|coach|officer|singer|actor|actress|player|president|mayor|king"
    r"|queen|by|named|secretary|captain|artist|composer|writer)) $"
)
_SPEAKS = re.compile(r",? (?:said|says|told|who|was born|wrote|played|sang|died)\b")
_IN_A_PLACE = re.compile(r"\b(?:in|near|at|from|outside|to) (?:the )?$", re.IGNORECASE)
_WHEN_OR_WHERE = re.compile(r"\b(?:in|on|at|near|since|by|during) (?:the )?$", re.IGNORECASE)
_SENTENCE_END = re.compile(r'(?<=[a-z0-9)"”%]{2}[.!?])["”]?\s+(?=["“A-Z0-9])')
_AUXILIARY = re.compile(
    r"(?P<subject>(?:(?!said|says|that|who|which|when)[^ ,;:()]+ ){1,6}?)"
    r"(?P<auxiliary>is|was|are|were|will|can|could|would|must|may|has|had|have) "
)
_OF_A_NATION = re.compile(r"\w+(?:ish|ese|an|ch)(?= [a-z])")
_PLAIN_NAME = re.compile(r"[^\W\d_]+(?: (?:de |van |von )?[^\W\d_]+){1,2}")
# Words that begin sentences and are no names.
_OPENERS = frozenset(
    {
        *("A", "An", "The", "This", "That", "These", "Those", "It", "He", "She", "They", "We", "I", "You"),
        *("His", "Her", "Its", "Their", "My", "Our", "There", "Here", "In", "On", "At", "By", "For", "From"),
        *("With", "As", "After", "Before", "During", "Under", "Over", "Between", "To", "Of", "Despite"),
        *("When", "While", "Where", "Who", "What", "Which", "How", "Why", "If", "Although", "Though"),
        *("Because", "Since", "According", "But", "And", "Or", "So", "Then", "Also", "However", "Later"),
        *("Both", "Some", "Many", "Most", "All", "Each", "Every", "One", "Two", "Another", "Other", "Such"),
        *("No", "Not", "Only", "Today", "Like"),
    }
)
_ASKS: dict[Kind, str] = {
    "person": "who",
    "place": "where",
    "organisation": "which organisation",
    "name": "what",
    "date": "when",
    "thing": "what",
}


_PATTERNS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (_DATE, "date"),
    (_NUMBER, "number"),
    (_NAME, "name"),
    (_THING, "thing"),
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A piece of a text that can be asked for; ``start`` and ``end`` are character offsets."""

    start: int
    end: int
    kind: Kind


def made_questions(document: Document, *, per_document: int = 4, seed: int = 0) -> list[Question]:
    """Up to ``per_document`` questions about ``document``, of as many kinds as it has.

    Each has one answer, which stands in the document's text as it is.

    Raises:
        ValueError: ``per_document`` is below 1.
    """
    if per_document < 1:
        raise ValueError(f"per_document is {per_document}: it must be at least 1")
    generator = random.Random(f"{seed} {document.id}")
    by_kind: dict[Kind, list[tuple[str, str]]] = {}
    for sentence in sentences(document.text):
        for gap in gaps(sentence):
            if question := _ask(sentence, gap):
                by_kind.setdefault(gap.kind, []).append((question, sentence[gap.start : gap.end]))
        if continued := _continuation(sentence, generator):
            by_kind.setdefault("continuation", []).append(continued)
    chosen: dict[str, str] = {}
    pools = [generator.sample(pool, len(pool)) for pool in by_kind.values()]
    while pools and len(chosen) < per_document:
        for pool in generator.sample(pools, len(pools))[: per_document - len(chosen)]:
            question, answer = pool.pop()
            chosen.setdefault(question, answer)
        pools = [pool for pool in pools if pool]
    return [
        Question(f"{document.id}#made-{number}", question, (answer,), (document.id,))
        for number, (question, answer) in enumerate(chosen.items(), start=1)
    ]


def sentences(text: str) -> Iterator[str]:
    """The sentences of ``text``, white space folded, without their final full stop."""
    for sentence in _SENTENCE_END.split(" ".join(text.split())):
        yield sentence.strip().removesuffix(".")


def gaps(sentence: str) -> list[Gap]:
    """What can be asked for in a sentence, in its order; pieces do not overlap."""
    taken: list[Gap] = []
    for pattern, kind in _PATTERNS:
        for match in pattern.finditer(sentence):
            start, end = match.span()
            if kind == "name":
                first, _, rest = match[0].partition(" ")
                if start == 0 and first in _OPENERS:
                    if not rest:
                        continue
                    start += len(first) + 1
                elif start == 0 and not rest:
                    continue  # a capital begins every sentence
                if not rest and _OF_A_NATION.match(sentence, start):
                    continue
                end -= 2 * sentence[start:end].endswith(("'s", "’s"))
            if all(end <= gap.start or start >= gap.end for gap in taken):
                taken.append(Gap(start, end, _kind_of_name(sentence, start, end) if kind == "name" else kind))
    return sorted(taken, key=lambda gap: gap.start)


def _kind_of_name(sentence: str, start: int, end: int) -> Kind:
    name, before, after = sentence[start:end], sentence[:start], sentence[end:]
    if _ORGANISATION.search(name):
        return "organisation"
    if _TITLE.search(before) or _SPEAKS.match(after):
        return "person"
    if _IN_A_PLACE.search(before):
        return "place"
    is_plain = _PLAIN_NAME.fullmatch(name) and not before.endswith(("the ", "The ", '"', "“"))
    return "person" if is_plain else "name"


def _ask(sentence: str, gap: Gap) -> str | None:
    """A question whose answer is the gap; None where what is left of the sentence says too little."""
    start, end = _clause(sentence, gap)
    before, after = sentence[start : gap.start], sentence[gap.end : end]
    before = re.sub(r"^(?:and|but|or) ", "", before)
    if before[-1:] + after[:1] in ('""', "“”"):
        before, after = before[:-1], after[1:]
    if len((before + after).split()) < 3 or (before + after).count("(") != (before + after).count(")"):
        return None
    if gap.kind == "number":
        piece = sentence[gap.start : gap.end]
        money = piece[0] in "$€£" or piece.endswith(("percent", "per cent", "%"))
        asks = "how much" if money else "how many"
    else:
        asks = _ASKS[gap.kind]
    if after.startswith(("'s ", "’s ")):
        asks, after = "whose", after[2:]
    if not before.strip():
        return _as_question(asks + after)
    inverted = _AUXILIARY.match(before)
    if inverted and gap.kind != "number":
        rest = before[inverted.end() :]
        if gap.kind in ("date", "place"):
            rest = _WHEN_OR_WHERE.sub("", rest)
        subject = inverted["subject"].strip()
        if subject.split()[0] in _OPENERS:
            subject = subject[0].lower() + subject[1:]
        return _as_question(f"{asks} {inverted['auxiliary']} {subject} {rest}{after}")
    if gap.kind in ("date", "place") and _WHEN_OR_WHERE.search(before):
        piece = sentence[gap.start : gap.end]
        asks = "which place" if gap.kind == "place" else "which year" if piece.isdigit() else "which date"
    return _as_question(before + asks + after)


def _clause(sentence: str, gap: Gap) -> tuple[int, int]:
    """The part of the sentence around the gap, between commas and the like, if it is long enough."""
    cuts = [match.start() for match in re.finditer(r"(?:,|;|:| –| -) ", sentence)]
    start = max((cut + 2 for cut in cuts if cut < gap.start), default=0)
    end = min((cut for cut in cuts if cut >= gap.end), default=len(sentence))
    kept = sentence[start : gap.start] + sentence[gap.end : end]
    return (start, end) if len(kept.split()) >= 4 else (0, len(sentence))


def _continuation(sentence: str, generator: random.Random) -> tuple[str, str] | None:
    """The beginning of a sentence, and the words that follow it."""
    words = sentence.split(" ")
    if len(words) < 8:
        return None
    cut = generator.randint(len(words) // 2, len(words) - 3)
    return f"Continue: {' '.join(words[:cut])}", " ".join(words[cut : cut + 6])


def _as_question(text: str) -> str:
    folded = " ".join(text.split()).rstrip(" ,;:-–")
    return f"{folded[0].upper()}{folded[1:]}?"


def all_made_questions(
    documents: Iterable[Document], *, per_document: int = 4, seed: int = 0
) -> list[Question]:
    """`made_questions` of every document, in their order."""
    return [
        question
        for document in documents
        for question in made_questions(document, per_document=per_document, seed=seed)
    ]
