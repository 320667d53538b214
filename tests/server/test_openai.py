"""OpenAI's own client talks to the server as to OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tests.support.served import KEY, Served, served

pytestmark = pytest.mark.slow

QUESTION = "Who opened the harbour museum in Lindholm?"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who bought Tornado Records?"},
    {"role": "assistant", "content": "Maria Lindqvist"},
    {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
]
UNKNOWN = "Which prize went to Tove Sandgren?"


@pytest.fixture(scope="module")
def server(news_store: Path) -> Iterator[Served]:
    with served(news_store, MBC_API_KEY=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "v1", api_key=KEY, max_retries=0) as opened:
        yield opened


def test_the_one_model_is_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["news"]
    assert client.models.retrieve("news").owned_by == "mbc"


def test_the_last_message_of_the_user_is_answered_with_its_sources(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(model="news", messages=MESSAGES, temperature=0.7, seed=3, user="me")  # type: ignore[arg-type]
    (choice,) = done.choices
    assert choice.message.content == "Mira Okafor"
    assert choice.finish_reason == "stop"
    memory = done.model_extra["memory"] if done.model_extra else {}
    assert memory["from_memory"]
    assert not memory["abstained"]
    assert memory["sources"][0]["document_id"] == "museum"
    assert 0.5 < memory["confidence"] <= 1
    usage = done.usage
    assert usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > usage.completion_tokens > 0


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="news", messages=MESSAGES)  # type: ignore[arg-type]
    with client.chat.completions.create(
        model="news",
        messages=MESSAGES,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces) == whole.choices[0].message.content
    first, last, usage = chunks[0], chunks[-2], chunks[-1]
    assert first.choices[0].delta.role == "assistant"
    assert (first.model_extra or {})["memory"]["sources"][0]["document_id"] == "museum"
    assert last.choices[0].finish_reason == "stop"
    assert (last.model_extra or {})["memory"] == (whole.model_extra or {})["memory"]
    assert usage.usage == whole.usage


def test_streams_that_come_at_once_all_say_what_a_whole_answer_says(client: openai.OpenAI) -> None:
    prompts = [QUESTION, UNKNOWN, "Who bought Tornado Records?"] * 6
    whole = client.completions.create(model="news", prompt=prompts)

    def streamed(prompt: str) -> str:
        chunks = client.completions.create(model="news", prompt=prompt, stream=True)
        return "".join(chunk.choices[0].text for chunk in chunks)

    with ThreadPoolExecutor(len(prompts)) as threads:
        assert list(threads.map(streamed, prompts)) == [choice.text for choice in whole.choices]


def test_what_is_not_in_memory_is_said_and_marked(client: openai.OpenAI) -> None:
    asked = [{"role": "user", "content": UNKNOWN}]
    done = client.chat.completions.create(model="news", messages=asked)  # type: ignore[arg-type]
    assert done.choices[0].message.content == "not in memory"
    assert (done.model_extra or {})["memory"]["abstained"] is True
    stream = client.chat.completions.create(model="news", messages=asked, stream=True)  # type: ignore[arg-type]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "not in memory"
    free = client.chat.completions.create(
        model="news",
        messages=asked,  # type: ignore[arg-type]
        extra_body={"memory": {"fallback": True}},
    )
    assert (free.model_extra or {})["memory"] | {"score": 0, "relevance": 0, "confidence": 0} == {
        "sources": [],
        "from_memory": False,
        "abstained": False,
        "score": 0,
        "relevance": 0,
        "confidence": 0,
    }


def test_the_memory_can_be_told_what_to_read(client: openai.OpenAI) -> None:
    asked = [{"role": "user", "content": QUESTION}]
    for reading in ({"until": "2026-05-02"}, {"where": {"source": "gazette"}}, {"where": ["source=wire"]}):
        done = client.chat.completions.create(
            model="news",
            messages=asked,  # type: ignore[arg-type]
            extra_body={"memory": reading},
        )
        read = [source["document_id"] for source in (done.model_extra or {})["memory"]["sources"]]
        assert "museum" not in read, reading


def test_every_prompt_of_a_completion_is_answered_in_its_place(client: openai.OpenAI) -> None:
    prompts = [QUESTION, UNKNOWN, "Who bought Tornado Records?"]
    done = client.completions.create(model="news", prompt=prompts, n=1)
    assert [choice.index for choice in done.choices] == [0, 1, 2]
    assert done.choices[0].text == "Mira Okafor"
    assert done.choices[1].text == "not in memory"
    assert (done.choices[2].model_extra or {})["memory"]["sources"][0]["document_id"] == "takeover"
    texts = ["", "", ""]
    for chunk in client.completions.create(model="news", prompt=prompts, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in done.choices]


@pytest.mark.parametrize(
    ("limit", "text", "reason"),
    [({"max_tokens": 1}, "M", "length"), ({"stop": [" Ok", "zz"]}, "Mira", "stop")],
    ids=["tokens", "stop"],
)
def test_an_answer_is_cut_where_the_caller_says_streamed_or_not(
    client: openai.OpenAI, limit: dict[str, object], text: str, reason: str
) -> None:
    done = client.completions.create(model="news", prompt=QUESTION, extra_body=limit)
    choice = done.choices[0]
    assert choice.finish_reason == reason
    assert choice.text == text if reason == "stop" else "Mira Okafor".startswith(choice.text)
    assert 0 < len(choice.text) < len("Mira Okafor")
    chunks = list(client.completions.create(model="news", prompt=QUESTION, stream=True, extra_body=limit))
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text
    assert chunks[-1].choices[0].finish_reason == reason


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            None,
        ),
        ({"memory": {"topk": 3}}, "memory.topk"),
        ({"memory": {"since": "yesterday"}}, None),
        ({"messages": [{"role": "user", "content": "why " * 4000}]}, None),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_cannot_be_done_is_refused_as_openai_refuses(
    client: openai.OpenAI, wrong: dict[str, object], param: str | None, stream: bool
) -> None:
    asked = {"messages": [{"role": "user", "content": QUESTION}], "stream": stream} | wrong
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", cast_to=object, body={"model": "news"} | asked)
    assert refused.value.type == "invalid_request_error"
    if param is not None:
        assert refused.value.param == param


def test_another_model_and_a_wrong_key_have_the_errors_of_their_own(
    client: openai.OpenAI, server: Served
) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt-4o", prompt=QUESTION)
    assert missing.value.code == "model_not_found"
    assert "'news'" in str(missing.value)
    with openai.OpenAI(base_url=server.url + "v1", api_key=KEY[:-1] + "x", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.models.list()
        assert refused.value.code == "invalid_api_key"
        assert KEY[:8] not in str(refused.value)
