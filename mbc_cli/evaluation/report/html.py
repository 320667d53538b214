"""``report.html``: everything a run found, on one page that opens without a network.

Texts of documents and answers may be anything: all of them are escaped, and the page allows no source of
scripts, styles or pictures but itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.protocols.result import Plot, Series
from mbc_cli.evaluation.report.plots import losses, rate_plot, reliability_plot, size_plots
from mbc_cli.evaluation.report.svg import line_plot, number, stacked_bars
from mbc_cli.evaluation.results import REPORT, Results
from mbc_cli.evaluation.summary import percent, table
from mbc_cli.files import write_file

MOST_ANSWERS = 500
"""How many answers the page holds; predictions.jsonl has them all."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

Predictions = Mapping[tuple[str, int], Sequence[Prediction]]


def write_report(folder: Path, results: Results, predictions: Predictions) -> None:
    """Write the page."""
    write_file(folder / REPORT, report_html(results, predictions))


def report_html(results: Results, predictions: Predictions) -> str:
    """The page as text."""
    title = f"mbc evaluate: {results.data.get('dataset', 'documents')}"
    parts = [
        _head(results, title),
        _section("Methods", _methods(results)),
        _section("Against the reference", _paired(results)),
        _section("Plots", _plots(results)),
        _section("What is kept", _bytes(results)),
        *(_protocol(protocol, _labels(results)) for protocol in results.protocols.values()),
        _section("Settings that were chosen", _tuning(results)),
        _section("Answers", _answers(results, predictions)),
        _section("Settings and machine", _settings(results)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_file('style.css')}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + f"\n<script>{_file('script.js')}</script></body></html>\n"
    )


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _head(results: Results, title: str) -> str:
    data = results.data
    sample = ""
    if data.get("is_sample"):
        told = f"This is the sample written for mbc, not {data.get('dataset')}. {data.get('how_to_get', '')}"
        sample = f'<p class="sample">{escape(told.strip())}</p>'
    split = f", split {data['split']}" if data.get("split") else ""
    unanswerable = f", {data['unanswerable']:,} of them without an answer" if data.get("unanswerable") else ""
    left_out = f"; {data['left_out']:,} cannot be scored and are left out" if data.get("left_out") else ""
    return (
        f"<h1>{escape(title)}</h1>{sample}<p>{data.get('documents', 0):,} documents and "
        f"{data.get('questions', 0):,} questions{unanswerable}{left_out}{escape(split)}. "
        f"Adapter {escape(str(results.run.get('adapter')))}.</p>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _methods(results: Results) -> str:
    columns, rows = table(results)
    told = "".join(
        f"<li><b>{escape(entry['label'])}</b>: {escape(entry['what'])}"
        f"{escape(_options(entry.get('options')))}</li>"
        for entry in results.methods.values()
    )
    names = ("exact_match", "f1", "recall_at_1", "right_if_selected", "false_answers", "false_abstentions")
    meanings = "; ".join(f"{MEASURES[name].label}: {MEASURES[name].what}" for name in names)
    return (
        f"{_table(columns, rows, sortable=True)}<ul>{told}</ul>"
        f'<p class="soft">{escape(meanings)}. Intervals are 95 % bootstrap intervals over documents.</p>'
    )


def _options(options: Mapping[str, Any] | None) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in options.items())})" if options else ""


def _paired(results: Results) -> str:
    rows = [
        [
            results.methods[each["second"]]["label"],
            MEASURES[each["measure"]].label,
            f"{100 * each['difference']:+.1f}",
            f"{100 * each['low']:+.1f} to {100 * each['high']:+.1f}",
            f"{each['p_corrected']:.4f}",
        ]
        for each in results.paired
    ]
    if not rows:
        return ""
    first = results.methods[results.paired[0]["first"]]["label"]
    columns = ["method", "measure", f"points more than {first}", "95 %", "p, corrected"]
    return _table(columns, rows)


def _plots(results: Results) -> str:
    lines = [rate_plot(results), *size_plots(results), reliability_plot(results)]
    drawn = [line_plot(plot, _labels(results)) for plot in lines]
    lost = stacked_bars("Where answers are lost, shares of the questions", losses(results))
    return _grid([drawn[0], lost, *drawn[1:]])


def _labels(results: Results) -> list[str]:
    return [entry["label"] for entry in results.methods.values()]


def _grid(figures: Iterable[str]) -> str:
    drawn = "".join(figures)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _bytes(results: Results) -> str:
    rows = []
    for entry in results.methods.values():
        stage = entry["stages"][-1]
        for kind, label in (
            ("growing", "grows with the documents"),
            ("fixed", "does not grow"),
            ("alternatives", "the same in another form; not counted"),
        ):
            for name, size in stage["bytes"][kind].items():
                rows.append([entry["label"], name, label, size, size / stage["documents"]])
    return _table(["method", "part", "", "bytes", "per document"], rows) if rows else ""


def _protocol(protocol: Mapping[str, Any], labels: Sequence[str]) -> str:
    tables = "".join(_table(each["columns"], each["rows"]) for each in protocol["tables"])
    plots = [
        line_plot(Plot(**{**plot, "series": [Series(**each) for each in plot["series"]]}), labels)
        for plot in protocol["plots"]
    ]
    return _section(protocol["title"], f"<p>{escape(protocol['what'])}</p>{tables}{_grid(plots)}")


def _tuning(results: Results) -> str:
    tuning = results.tuning
    if not tuning:
        return ""
    rows = [
        [
            results.methods.get(method, {}).get("label", method),
            _options(each["settings"]).strip(" ()") or "its own",
            "chosen" if each["settings"] == chosen["settings"] else "",
            percent(each["exact_match"]),
            percent(each["f1"]),
        ]
        for method, chosen in tuning["chosen"].items()
        for each in chosen["tried"]
    ]
    told = (
        f"Chosen on {tuning['split']} ({tuning['documents']:,} documents, {tuning['questions']:,} "
        "questions), of which nothing is reported above."
    )
    return f"<p>{escape(told)}</p>{_table(['method', 'settings', '', 'EM %', 'F1 %'], rows)}"


def _answers(results: Results, predictions: Predictions) -> str:
    last = max((size for _, size in predictions), default=0)
    every = [(method, each) for (method, size), part in predictions.items() if size == last for each in part]
    # Wrong ones first, a question's answers of all methods together.
    wrong = {each.question.id for _, each in every if each.scores is not None and not each.scores.exact_match}
    places = {each.question.id: place for place, (_, each) in enumerate(every)}
    every.sort(key=lambda item: (item[1].question.id not in wrong, places[item[1].question.id]))
    rows = "".join(_answer(results, method, each) for method, each in every[:MOST_ANSWERS])
    if not rows:
        return ""
    methods = {results.methods[method]["label"] for method, _ in every if method in results.methods}
    outcomes = {each.outcome for _, each in every if each.outcome}
    left = len(every) - MOST_ANSWERS
    more = f'<p class="soft">{left:,} more are in predictions.jsonl.</p>' if left > 0 else ""
    heads = ["question", "accepted", "method", "answer", "F1 %", "outcome", "sources", "confidence"]
    return (
        f'<div class="filters">{_select("method", sorted(methods))}{_select("outcome", sorted(outcomes))}'
        '<label>words <input type="search"></label></div>'
        f'<div class="scroll"><table id="answers"><thead><tr>{_heads(heads, sortable=True)}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{more}"
    )


def _select(name: str, choices: Sequence[str]) -> str:
    options = "".join(f"<option>{escape(choice)}</option>" for choice in choices)
    return f'<label>{name} <select><option value="">all</option>{options}</select></label>'


def _answer(results: Results, method: str, prediction: Prediction) -> str:
    label = results.methods.get(method, {}).get("label", method)
    reply, question = prediction.reply, prediction.question
    outcome = prediction.outcome or ("nothing answers it" if prediction.scores is None else "")
    cells = [
        question.question,
        " | ".join(question.answers) or "-",
        label,
        reply.answer + (" (abstained from in use)" if prediction.abstained else ""),
        "-" if prediction.scores is None else f"{100 * prediction.scores.f1:.0f}",
        outcome,
        ", ".join(reply.sources) or "-",
        "-" if reply.confidence is None else f"{reply.confidence:.2f}",
    ]
    told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    named = f'data-method="{escape(label.lower(), quote=True)}" data-outcome="{escape(outcome, quote=True)}"'
    return f"<tr {named}>{told}</tr>"


def _settings(results: Results) -> str:
    command = results.run.get("command")
    shown = f"<pre>{escape(str(command))}</pre>" if command else ""
    rows = [
        [name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)]
        for part in (results.data, results.run, results.machine)
        for name, value in part.items()
        if name != "command"
    ]
    return f"{shown}{_table(['setting', 'value'], rows)}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, sortable: bool = False) -> str:
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{_heads(columns, sortable=sortable)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _heads(columns: Sequence[str], *, sortable: bool) -> str:
    inner = [f"<button type=button>{escape(name)}</button>" if sortable else escape(name) for name in columns]
    return "".join(f"<th>{name}</th>" for name in inner)


def _cell(value: Any) -> str:
    text = number(value)
    plain = text.replace(",", "").replace("+", "")
    is_number = not isinstance(value, str) or plain.replace(".", "", 1).lstrip("-").isdigit()
    kind = ' class="n"' if is_number else ""
    data = f' data-value="{escape(plain, quote=True)}"' if is_number else ""
    return f"<td{kind}{data}>{escape(text)}</td>"
