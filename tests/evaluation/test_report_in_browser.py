"""The report as a browser shows it: every plot, nothing from outside, and no text that becomes a program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.online import Stream, online
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.protocols.result import Plot, ProtocolResult, Series, Table
from mbc_cli.evaluation.report.html import MOST_ANSWERS, report_html, write_report
from mbc_cli.evaluation.results import Results
from mbc_cli.evaluation.summary import paired_as_json, stage_as_json
from tests.support.browser import PHONE, Browser
from tests.support.browser import browser as browser
from tests.support.planted_methods import Planted
from tests.support.tiny_memories import numbered_documents

HOSTILE = (
    "<script>document.title = 'run'</script> \"quoted\" & 'more' </style> \u202eright to left " + "x" * 300
)
DOCUMENTS = numbered_documents(9)
QUESTIONS = [Question(f"q{n}", f"{HOSTILE} {n}?", ("Mira", HOSTILE), (f"d{n}",)) for n in range(9)]
METHODS = {
    "memory": Planted(
        says={"q0": "Mira", "q1": HOSTILE, "q2": "wrong one"},
        ranked={f"q{n}": (f"d{n}",) for n in range(9)},
        relevance={f"q{n}": n / 9 for n in range(9)},
        threshold=0.5,
    ),
    "none": Planted(),
}


def whole() -> tuple[Results, dict[tuple[str, int], tuple[Prediction, ...]]]:
    """Results with every part filled, all of it hostile where it is text."""
    results = Results(
        {"command": f"mbc evaluate {HOSTILE}", "adapter": HOSTILE},
        {"dataset": "archivalqa", "is_sample": True, "how_to_get": HOSTILE, "documents": 9, "questions": 9},
        {"processor": HOSTILE},
    )
    predictions = {}
    stream = Stream.of(DOCUMENTS, QUESTIONS, [3, 6])
    for name, method in METHODS.items():
        stages = list(online(method, stream))
        stages = [
            replace(
                stage,
                predictions=tuple(
                    replace(each, reply=replace(each.reply, confidence=0.1 * place))
                    for place, each in enumerate(stage.predictions)
                ),
            )
            for stage in stages
        ]
        predictions |= {(name, stage.documents): stage.predictions for stage in stages}
        results.methods[name] = {
            "label": f"{name} {HOSTILE}" if name == "none" else name,
            "what": HOSTILE,
            "options": {"k": HOSTILE},
            "stages": [stage_as_json(stage, seed=0) for stage in stages],
        }
    final = {name: predictions[name, 9] for name in METHODS}
    results.paired = paired_as_json(final, seed=0)
    tried = [{"settings": {"k": 1}, "exact_match": 0.5, "f1": 0.6}]
    chosen = {"memory": {"settings": {"k": 1}, "tried": tried}}
    results.tuning = {"split": HOSTILE, "documents": 2, "questions": 2, "chosen": chosen}
    lines = [Series(HOSTILE, [1, 10, 100], [0.5, -2, 3], [0, -3, 2], [1, 0, 4]), Series("none", [], [])]
    results.protocols["retention"] = ProtocolResult(
        "retention",
        HOSTILE,
        HOSTILE,
        {},
        [Table([HOSTILE, "b"], [[HOSTILE, 1.25], [None, 12345]])],
        [Plot(HOSTILE, HOSTILE, "y", lines, log_x=True), Plot("nothing", "x", "y", [])],
    ).as_json()
    return results, predictions


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Browser:
    results, predictions = whole()
    write_report(tmp_path, results, predictions)
    browser.driver.get((tmp_path / "report.html").as_uri())
    return browser


def all_of(page: Browser, selector: str) -> list[str]:
    found = page.driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)", selector
    )
    return list(found)


@pytest.mark.slow
def test_every_plot_is_drawn_and_nothing_is_asked_for_or_complained_about(page: Browser) -> None:
    titles = all_of(page, "figcaption")
    assert titles == [
        "What exact match costs",
        "Where answers are lost, shares of the questions",
        "Answers as the bank grows",
        "Finding as the bank grows",
        "Latency as the bank grows",
        "How far confidence can be trusted",
        HOSTILE,
    ]
    assert len(all_of(page, "svg circle")) > 20
    assert page.console() == []
    assert [url for url in page.requests() if not url.startswith("file:")] == []
    assert page.driver.title == "mbc evaluate: archivalqa"  # no text has run
    drawn = page.driver.execute_script(
        "return [...document.querySelectorAll('svg')].every((each) => each.clientHeight > 20)"
    )
    assert drawn


@pytest.mark.slow
def test_the_sample_is_named_before_any_figure(page: Browser) -> None:
    (told,) = all_of(page, ".sample")
    assert told.startswith("This is the sample written for mbc, not archivalqa.")
    assert page.driver.execute_script(
        "const [sample, table] = ['.sample', 'table'].map((each) => document.querySelector(each));"
        "return sample.compareDocumentPosition(table) & Node.DOCUMENT_POSITION_FOLLOWING"
    )


@pytest.mark.slow
def test_answers_can_be_filtered_and_tables_sorted(page: Browser) -> None:
    visible = "[...document.querySelectorAll('#answers tbody tr')].filter((row) => !row.hidden).length"
    assert page.driver.execute_script(f"return {visible}") == 18
    page.driver.execute_script(
        "const choice = document.querySelectorAll('.filters select')[1]; choice.value = 'right';"
        "choice.dispatchEvent(new Event('input'))"
    )
    assert page.driver.execute_script(f"return {visible}") == 2
    page.driver.execute_script("document.querySelectorAll('th button')[3].click()")
    order = page.driver.execute_script(
        "return [...document.querySelector('table').tBodies[0].rows].map((row) => +row.cells[3].textContent)"
    )
    assert order == sorted(order)
    assert page.console() == []


@pytest.mark.slow
def test_on_a_phone_only_tables_scroll_sideways(page: Browser) -> None:
    page.set_screen(PHONE)
    wide = page.driver.execute_script("return document.documentElement.scrollWidth")
    assert wide <= PHONE[0]


def test_the_page_holds_some_answers_and_says_how_many_more_there_are() -> None:
    results, predictions = whole()
    many = tuple(
        replace(each, question=replace(each.question, id=f"{each.question.id}-{copy}"))
        for copy in range(100)
        for each in predictions["memory", 9]
    )
    text = report_html(results, {("memory", 9): many})
    assert text.count("<tr data-method") == MOST_ANSWERS
    assert "400 more are in predictions.jsonl" in text


def test_a_run_that_has_found_nothing_yet_has_a_page_too() -> None:
    text = report_html(Results({}, {}, {}), {})
    assert text.startswith("<!doctype html>")
    assert "<figure" not in text
