"""XQuAD (Artetxe et al., 2020): paragraphs and questions of SQuAD in eleven languages, in SQuAD's format.

A split is a language: ``--split de``.
"""

from __future__ import annotations

from mbc_cli.corpus.datasets.description import DatasetDescription

LANGUAGES = {
    "en": "English",
    "ar": "Arabic",
    "de": "German",
    "el": "Greek",
    "es": "Spanish",
    "hi": "Hindi",
    "ro": "Romanian",
    "ru": "Russian",
    "th": "Thai",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
DESCRIPTION = DatasetDescription(
    name="xquad",
    what="240 paragraphs and 1,190 questions of SQuAD, translated by people; each language is a split.",
    languages=", ".join(LANGUAGES.values()),
    splits={code: f"{language}, 1,190 questions" for code, language in LANGUAGES.items()},
    licence="CC BY-SA 4.0",
    citation="Artetxe, Ruder and Yogatama 2020, arXiv 1910.11856",
    source="https://github.com/google-deepmind/xquad",
    files={code: (f"xquad.{code}.json",) for code in LANGUAGES},
    how_to_get="put xquad.en.json, xquad.de.json, ... there",
    hub=("google/xquad", "xquad.{split}"),
)
