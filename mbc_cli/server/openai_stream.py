"""Answers as server-sent events, in OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse

from mbc_cli.inference.answer import Answer
from mbc_cli.server.choice import Choice
from mbc_cli.server.failures import error_body
from mbc_cli.server.limits import FinishReason, Limits, finish_reason
from mbc_cli.server.memory_forms import MemoryPart
from mbc_cli.server.openai_forms import NOT_IN_MEMORY, Usage
from mbc_cli.server.running import Running

_DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an answer ended, and how many tokens it has."""

    answer: Answer
    reason: FinishReason
    tokens: int


async def cut_pieces(
    here: Running, choice: Choice, question: str, limits: Limits
) -> AsyncGenerator[Answer | str | Ended, None]:
    """What is known at once, the answer's text up to its limits, and how it ended."""
    counter, text, shown = here.service.counter, "", 0
    answer: Answer | None = None
    cut: FinishReason | None = None
    async with aclosing(here.stream(choice, question)) as arriving:
        async for item in arriving:
            if isinstance(item, Answer):
                if answer is None:
                    yield item
                answer = item
                continue
            text += item
            within, cut = limits.cut(text, counter)
            until = len(within) if cut else len(text) - limits.held_back(text)
            if until > shown:
                yield within[shown:until]
                shown = until
            if cut:
                text = within
                break
    assert answer is not None
    here.measures.count_answer(answer)
    if rest := NOT_IN_MEMORY if answer.abstained else text[shown:]:
        yield rest
    tokens = len(counter.ends(text))
    most = here.service.most_tokens
    yield Ended(answer, finish_reason(cut, tokens, most, answer.abstained), tokens)


@dataclass(frozen=True, slots=True)
class EventForm:
    """What every event of a stream holds, and whether it is a chat's."""

    fields: dict[str, Any]
    chat: bool
    wants_usage: bool

    def begin(self, index: int, answer: Answer) -> str:
        """The first event of an answer: where it is from."""
        return self._event(index, {"role": "assistant", "content": ""}, "", None, answer)

    def text(self, index: int, piece: str) -> str:
        """A piece of text."""
        return self._event(index, {"content": piece}, piece, None, None)

    def end(self, index: int, ended: Ended) -> str:
        """The last event of an answer: why it ended, and how sure the adapter is now."""
        return self._event(index, {}, "", ended.reason, ended.answer)

    def usage(self, prompt: int, completion: int) -> str:
        """The event of the counts of tokens."""
        return _line(self.fields | {"choices": [], "usage": Usage.of(prompt, completion).model_dump()})

    def _event(
        self, index: int, delta: dict[str, Any], text: str, reason: FinishReason | None, answer: Answer | None
    ) -> str:
        memory = {} if answer is None else {"memory": MemoryPart.model_validate(answer).model_dump()}
        choice: dict[str, Any] = {"index": index, "finish_reason": reason, "logprobs": None}
        choice |= {"delta": delta} if self.chat else {"text": text} | memory
        usage = {"usage": None} if self.wants_usage else {}
        return _line(self.fields | {"choices": [choice]} | usage | (memory if self.chat else {}))


async def streamed(
    here: Running, choice: Choice, questions: Sequence[str], limits: Limits, form: EventForm
) -> StreamingResponse:
    """The response that streams answers to ``questions``, one after the other.

    Raises:
        MbcError, StoreError: the first one cannot be begun. What fails later is an event.
    """
    first = cut_pieces(here, choice, questions[0], limits)
    known = await anext(first)

    async def events() -> AsyncIterator[str]:
        prompt = completion = 0
        try:
            for index, question in enumerate(questions):
                pieces = first if index == 0 else cut_pieces(here, choice, question, limits)
                prompt += here.service.counter.prompt(question)
                async with aclosing(pieces):
                    if index == 0 and isinstance(known, Answer):
                        yield form.begin(index, known)
                    async for item in pieces:
                        if isinstance(item, Answer):
                            yield form.begin(index, item)
                        elif isinstance(item, str):
                            yield form.text(index, item)
                        else:
                            completion += item.tokens
                            yield form.end(index, item)
        except Exception as failure:  # the status is sent already
            yield _line(error_body(failure))
            return
        if form.wants_usage:
            yield form.usage(prompt, completion)
        yield _DONE

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
