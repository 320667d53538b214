"""Remember, ask, search, look and forget over HTTP, from the newest commit whoever made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from mbc_cli import Document, Memory
from tests.support.served import Served, served

pytestmark = pytest.mark.slow

DOCUMENTS = "v1/memory/documents"


@pytest.fixture(scope="module")
def server(news_store: Path) -> Iterator[Served]:
    with served(news_store) as running:
        yield running


def ids(server: Served, query: str = "") -> list[str]:
    return [document["id"] for document in server.ask(f"{DOCUMENTS}?{query}").body["documents"]]


def test_questions_are_answered_with_their_sources(server: Served) -> None:
    questions = ["Who bought Tornado Records?", "Which prize went to Tove Sandgren?"]
    first, second = server.ask("v1/memory/ask", {"question": questions}).body["answers"]
    assert first["sources"][0]["document_id"] == "takeover"
    assert first["sources"][0]["title"] == "Takeover"
    assert first["from_memory"]
    assert second == {
        "question": questions[1],
        "answer": None,
        "sources": [],
        "from_memory": False,
        "abstained": True,
    } | {name: second[name] for name in ("score", "relevance", "confidence")}


def test_passages_are_found_and_filtered(server: Served) -> None:
    def found(**reading: object) -> list[str]:
        asked = {"question": "the harbour museum"} | reading
        (result,) = server.ask("v1/memory/search", asked).body["results"]
        return [source["document_id"] for source in result["sources"]]

    assert found() == ["museum", "takeover"]
    assert found(top_k=1) == ["museum"]
    assert found(where={"source": "gazette"}) == ["takeover"]
    assert found(since="2026-05-02") == ["museum"]


def test_documents_are_listed_in_pages_and_by_condition(server: Served) -> None:
    page = server.ask(f"{DOCUMENTS}?limit=1").body
    assert [document["id"] for document in page["documents"]] == ["takeover"]
    assert page["documents"][0]["metadata"] == {"source": "gazette"}
    assert (page["next_offset"], page["in_memory"]) == (1, 2)
    assert server.ask(f"{DOCUMENTS}?limit=1&offset=1").body["next_offset"] is None
    assert ids(server, "where=source=gazette") == ["takeover"]
    assert ids(server, "since=2026-05-02") == ["museum"]
    assert ids(server, "until=2026-05-02&limit=1&offset=1") == []


def test_a_document_is_remembered_replaced_and_forgotten_and_the_past_is_kept(server: Served) -> None:
    identifier = "wire/2026?no=1#ä"
    address = f"{DOCUMENTS}/{quote(identifier, safe='')}"
    text = "Selma Brandt leads the Institute of Tides in Karlsund."
    sent = server.ask(DOCUMENTS, {"id": identifier, "text": text, "timestamp": "2026-05-09", "page": 3})
    assert (sent.status, sent.body["added"], sent.body["ids"]) == (201, 1, [identifier])
    added = server.ask("v1/memory/history").body["commits"][0]
    shown = server.ask(address).body
    assert shown == {
        "id": identifier,
        "title": None,
        "time": "2026-05-09T00:00:00Z",
        "metadata": {"page": 3},
        "text": text,
        "passages": [{"start": 0, "end": len(text), "pieces": None}],
    }
    asked = {"question": "Who leads the Institute of Tides?"}
    (answer,) = server.ask("v1/memory/ask", asked).body["answers"]
    assert answer["sources"][0]["document_id"] == identifier

    several = [{"id": identifier, "text": text + " It opened."}, {"id": "more", "text": "The mayor slept."}]
    sent = server.ask(DOCUMENTS, {"documents": several})
    assert (sent.body["replaced"], sent.body["added"]) == (1, 1)
    dry = server.ask(f"{DOCUMENTS}?id=more&id=none&dry_run=true", method="DELETE")
    assert dry.body == {"ids": ["more"], "missing": ["none"]}
    assert "more" in ids(server)
    assert server.ask(f"{DOCUMENTS}?id=more", method="DELETE").body["ids"] == ["more"]
    assert server.ask(address, method="DELETE").body == {"ids": [identifier], "missing": []}
    assert ids(server) == ["takeover", "museum"]
    assert server.ask(address).status == 404

    at = added["id"]
    assert ids(server, f"at={at}")[-1] == identifier
    assert server.ask(f"{address}?at={at}").body["text"] == text
    (past,) = server.ask("v1/memory/ask", asked | {"at": at}).body["answers"]
    assert past["sources"] == answer["sources"]
    (now,) = server.ask("v1/memory/ask", asked).body["answers"]
    assert identifier not in [source["document_id"] for source in now["sources"]]
    assert server.ask(f"v1/memory/info?at={at}").body["documents"] == 3


def test_of_several_documents_none_is_stored_where_one_cannot_be_used(server: Served) -> None:
    before = ids(server)
    for wrong in (
        {"id": "b", "text": ""},
        {"id": "b\n", "text": "x"},
        {"id": "b", "text": "x", "timestamp": "soon"},
        {"id": "b", "text": "\ud800"},
        {"text": "no id"},
    ):
        refused = server.ask(DOCUMENTS, {"documents": [{"id": "a", "text": "Fine."}, wrong]})
        assert refused.status == 400, wrong
        assert refused.body["error"]["type"] == "invalid_request_error"
    assert ids(server) == before


def test_the_bytes_of_every_array_are_told_and_add_up(server: Served) -> None:
    told = server.ask("v1/memory/info").body
    assert sum(told["array_bytes"].values()) == told["bytes"]
    assert told["array_bytes"]["passages/codes"] > 0
    assert (told["adapter"], told["documents"], told["read_only"]) == ("news", 2, False)
    assert "news.mbc" not in json.dumps(told)


def test_what_another_process_writes_is_answered_from_at_once(server: Served, news_store: Path) -> None:
    asked = {"question": "Who designed the library in Tornby?", "top_k": 1}
    (before,) = server.ask("v1/memory/ask", asked).body["answers"]
    assert "elsewhere" not in [source["document_id"] for source in before["sources"]]
    with Memory.open(news_store, device="cpu") as ours:  # the server is another process than this one
        ours.encode([Document("elsewhere", "Ole Fjeld designed the library in Tornby.")])
        (answer,) = server.ask("v1/memory/ask", asked).body["answers"]
        assert answer["sources"][0]["document_id"] == "elsewhere"
        ours.forget(["elsewhere"])
        assert "elsewhere" not in ids(server)
        server.ask(DOCUMENTS, {"id": "theirs", "text": "Ole Fjeld slept."})
        assert [each.id for each in ours.documents()][-1] == "theirs"
        ours.forget(["theirs"])


def test_many_who_ask_read_and_write_at_once_all_get_what_is_theirs(server: Served) -> None:
    names = ["Ada Lund", "Bo Strand", "Cai Holm", "Dag Vik", "Eli Moe", "Fia Berg", "Gro Dahl", "Ivo Krog"]

    def work(number: int) -> None:
        identifier = f"many-{number}"
        document = {"id": identifier, "text": f"{names[number]} opened the school number {number} in Lund."}
        assert server.ask(DOCUMENTS, document).body["added"] == 1
        assert server.ask(f"{DOCUMENTS}/{identifier}").body["text"] == document["text"]
        question = f"What did {names[number]} open?"
        (answer,) = server.ask("v1/memory/ask", {"question": question}).body["answers"]
        assert answer["question"] == question
        assert server.ask(f"{DOCUMENTS}/{identifier}", method="DELETE").body["ids"] == [identifier]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert ids(server) == ["takeover", "museum"]
    metrics = server.ask("metrics").body
    assert 'mbc_requests_total{method="GET",route="/v1/memory/documents/{identifier:path}"' in metrics
    assert "mbc_documents 2.0" in metrics
    assert "many-3" not in metrics
