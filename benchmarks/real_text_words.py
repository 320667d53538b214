"""Which words of a passage were kept, of what kind they are, and a plot: parts of benchmarks/real_text.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mbc_cli.metrics import normalize_answer

KINDS = ("names", "numbers", "dates", "negations", "function words", "other words")
_EDGES = "\"'“”‘’«»()[]{}.,;:!?…–—-*/"
_SENTENCE_END = re.compile(r"""[.!?:…]["'”’)\]]*$""")
_NO_END = re.compile(r"""["'“‘(]?(?:Mr|Mrs|Ms|Dr|St|Prof|No|Lt|Col|Gen|(?:[A-Z]\.)*[A-Z])\.$""")
_NEGATIONS = "no not never none nobody nothing nowhere neither nor without cannot hardly"
_CALENDAR = """
    January February March April May June July August September October November December
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday
"""
_BEGINS_SENTENCES = {"March", "May"}  # these are no months there, as a rule
_YEAR = re.compile(r"(?:1\d|20)\d\d(?:s|[–-]\d{2,4})?")
_NUMBERS = """
    two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds thousand
    thousands million millions billion trillion dozen first second third fourth fifth half twice
"""
_FUNCTION_WORDS = """
    a an the this that these those and or but if then than so as because while when where who whom whose
    which what how why i you he she it we they me him her us them my your his its our their mine yours hers
    ours theirs myself himself herself itself themselves of in on at by for from with to into onto upon
    over under about after before between through during against among around behind beside off out up down
    is am are was were be been being do does did done has have had having will would shall should can could
    may might must there here also too very just only both each every some any all such own same other
    more most
"""
_NEGATING, _DATED, _COUNTING, _FUNCTIONAL = (
    frozenset(listed.split()) for listed in (_NEGATIONS, _CALENDAR, _NUMBERS, _FUNCTION_WORDS)
)


class Word(NamedTuple):
    """A word of a text without what stands around it, its place there, and whether it begins a sentence."""

    text: str
    start: int
    end: int
    begins: bool


def words(text: str) -> Iterator[Word]:
    """The words of ``text``, in their order."""
    begins = True
    for match in re.finditer(r"\S+", text):
        written = match[0]
        core = written.strip(_EDGES)
        if core:
            start = match.start() + written.index(core)
            yield Word(core, start, start + len(core), begins or written[0] in "\"“‘'")
            begins = False
        begins = begins or bool(_SENTENCE_END.search(written) and not _NO_END.match(written))


def kind_of(word: Word) -> str:
    """One of `KINDS`; a name that begins a sentence cannot be told from other words and is one of these."""
    plain = word.text.replace("’", "'")
    lower = plain.lower()
    if lower in _NEGATING or lower.endswith("n't"):
        return "negations"
    if _YEAR.fullmatch(plain) or (
        plain.removesuffix("'s") in _DATED and not (word.begins and plain in _BEGINS_SENTENCES)
    ):
        return "dates"
    if re.search(r"\d", plain) or lower in _COUNTING:
        return "numbers"
    if lower.partition("'")[0] in _FUNCTIONAL:
        return "function words"
    return "names" if plain[0].isupper() and not word.begins else "other words"


Spans = Sequence[tuple[int, int]]
"""Characters of a text, as places of their first one and behind their last one."""


def is_kept(span: tuple[int, int], offsets: Spans, kept: Sequence[bool]) -> bool:
    """Whether all tokens of a span were kept; what was cut off was not."""
    start, end = span
    of_it = [
        place for place, (first, last) in enumerate(offsets) if first < end and last > start and last > first
    ]
    return bool(of_it) and all(place < len(kept) and kept[place] for place in of_it)


def holds_answer(text: str, answers: Sequence[str], offsets: Spans, kept: Sequence[bool]) -> bool:
    """Whether one of the ``answers`` stands completely among the tokens of ``text`` that were kept.

    Articles and punctuation do not count, as in exact match.
    """
    return any(
        all(is_kept(span, offsets, kept) for span in spans)
        for answer in answers
        for spans in _occurrences(text, answer)
    )


def _occurrences(text: str, answer: str) -> Iterator[Spans]:
    """Where an answer stands in a text, as the spans of its words."""
    wanted = normalize_answer(answer).split()
    there = [(normalize_answer(word.text), word) for word in words(text)]
    there = [(normal, word) for normal, word in there if normal]
    found = False
    for first in range(len(there) - len(wanted) + 1):
        part = there[first : first + len(wanted)]
        if wanted and [normal for normal, _ in part] == wanted:
            found = True
            yield [(word.start, word.end) for _, word in part]
    if not found:  # it may be a part of a word, such as of "1914-1918"
        for match in re.finditer(
            rf"(?<!\w){re.escape(answer.strip(_EDGES + ' '))}(?!\w)", text, re.IGNORECASE
        ):
            yield [match.span()]


def share_kept(
    texts: Sequence[str], offsets: Sequence[Spans], kept: Sequence[Sequence[bool]]
) -> dict[str, Any]:
    """Of the words of each kind, how many there are and the share, in percent, that was kept whole."""
    counts, held = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for text, spans, which in zip(texts, offsets, kept, strict=True):
        for word in words(text):
            kind = kind_of(word)
            counts[kind] += 1
            held[kind] += is_kept((word.start, word.end), spans, which)
    return {
        kind: {"words": counts[kind], "kept": round(100 * held[kind] / max(1, counts[kind]), 1)}
        for kind in KINDS
    }


def reliability_plot(bins: Sequence[dict[str, Any]], title: str) -> str:
    """An SVG of a reliability table: the share right over the mean confidence, one dot for each bin."""
    side, left, top = 300, 60, 40
    bottom = top + side

    def x(share: float) -> float:
        return round(left + side * share, 1)

    def y(share: float) -> float:
        return round(bottom - side * share, 1)

    most = max((row["count"] for row in bins), default=1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + side + 30} {bottom + 84}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{left + side / 2}" y="22" text-anchor="middle" font-size="14">{title}</text>',
    ]
    for step in range(6):
        share = step / 5
        parts += [
            f'<path d="M{left} {y(share)}H{left + side}M{x(share)} {top}V{bottom}" stroke="#e4e4e4"/>',
            f'<text x="{left - 8}" y="{y(share) + 4}" text-anchor="end">{share:.1f}</text>',
            f'<text x="{x(share)}" y="{bottom + 18}" text-anchor="middle">{share:.1f}</text>',
        ]
    parts += [
        f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#888" stroke-dasharray="5 4"/>',
        f'<text x="{left + side / 2}" y="{bottom + 40}" text-anchor="middle">mean confidence</text>',
        f'<text x="18" y="{top + side / 2}" text-anchor="middle" '
        f'transform="rotate(-90 18 {top + side / 2})">share right</text>',
    ]
    for place, (key, colour, label) in enumerate(
        (("exact", "#1f5fa8", "exact match"), ("f1", "#d9822b", "F1 at least 0.5"))
    ):
        dots = [(x(row["confidence"]), y(row[key]), 3 + 6 * (row["count"] / most) ** 0.5) for row in bins]
        line = "L".join(f"{across} {down}" for across, down, _ in dots)
        if line:
            parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [
            f'<circle cx="{across}" cy="{down}" r="{size:.1f}" fill="{colour}" fill-opacity="0.75"/>'
            for across, down, size in dots
        ]
        at = left + place * 110
        parts += [
            f'<circle cx="{at + 6}" cy="{bottom + 62}" r="5" fill="{colour}"/>',
            f'<text x="{at + 16}" y="{bottom + 66}">{label}</text>',
        ]
    parts.append(f'<text x="{left + 236}" y="{bottom + 66}" font-size="11">size: answers</text></svg>')
    return "\n".join(parts) + "\n"
