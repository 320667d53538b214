"""``/v1/models``, ``/v1/chat/completions`` and ``/v1/completions``."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from mbc_cli.inference.answer import Answer
from mbc_cli.server.failures import missing_model
from mbc_cli.server.limits import FinishReason, Limits, finish_reason
from mbc_cli.server.memory_forms import MemoryPart
from mbc_cli.server.openai_forms import (
    NOT_IN_MEMORY,
    ChatChoice,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Completion,
    CompletionChoice,
    CompletionRequest,
    Model,
    Models,
    Usage,
)
from mbc_cli.server.openai_stream import EventForm, streamed
from mbc_cli.server.running import Here, Running

router = APIRouter(prefix="/v1", tags=["openai"])
_STARTED = int(time.time())


@router.get("/models")
async def models(here: Here) -> Models:
    """List the one model: the adapter that the memory was made with."""
    return Models(data=[Model(id=here.service.model_name, created=_STARTED)])


@router.get("/models/{model:path}")
async def model(model: str, here: Here) -> Model:
    """Show a model."""
    if model != here.service.model_name:
        raise missing_model(model, here.service.model_name)
    return Model(id=model, created=_STARTED)


@router.post("/chat/completions", response_model=ChatCompletion)
async def chat(asked: ChatRequest, here: Here) -> ChatCompletion | StreamingResponse:
    """Answer the last message of the user from the memory."""
    asked.check(here.service.model_name)
    question, choice, limits = asked.question, asked.choice(), asked.limits()
    fields = _fields("chatcmpl", here)
    if asked.stream:
        fields |= {"object": "chat.completion.chunk"}
        return await streamed(here, choice, [question], limits, EventForm(fields, True, asked.wants_usage))
    (answer,) = await here.with_model(here.service.answer, choice, [question])
    text, reason, tokens = _finished(here, answer, limits)
    return ChatCompletion(
        **fields,
        choices=[ChatChoice(message=ChatMessage(content=text), finish_reason=reason)],
        usage=Usage.of(here.service.counter.prompt(question), tokens),
        memory=MemoryPart.model_validate(answer),
    )


@router.post("/completions", response_model=Completion)
async def complete(asked: CompletionRequest, here: Here) -> Completion | StreamingResponse:
    """Answer every prompt from the memory."""
    asked.check(here.service.model_name)
    questions, choice, limits = asked.questions, asked.choice(), asked.limits()
    fields = _fields("cmpl", here)
    if asked.stream:
        fields |= {"object": "text_completion"}
        return await streamed(here, choice, questions, limits, EventForm(fields, False, asked.wants_usage))
    answers = await here.with_model(here.service.answer, choice, questions)
    choices, completion = [], 0
    for index, answer in enumerate(answers):
        text, reason, tokens = _finished(here, answer, limits)
        completion += tokens
        memory = MemoryPart.model_validate(answer)
        choices.append(CompletionChoice(index=index, text=text, finish_reason=reason, memory=memory))
    prompt = sum(here.service.counter.prompt(question) for question in questions)
    return Completion(**fields, choices=choices, usage=Usage.of(prompt, completion))


def _fields(prefix: str, here: Running) -> dict[str, Any]:
    return {"id": f"{prefix}-{uuid4().hex}", "created": int(time.time()), "model": here.service.model_name}


def _finished(here: Running, answer: Answer, limits: Limits) -> tuple[str, FinishReason, int]:
    """The text of ``answer`` up to its limits, why it ends there, and its tokens."""
    here.measures.count_answer(answer)
    counter = here.service.counter
    text, cut = limits.cut(answer.text, counter)
    tokens = len(counter.ends(text))
    reason = finish_reason(cut, tokens, here.service.most_tokens, answer.abstained)
    return NOT_IN_MEMORY if answer.abstained else text, reason, tokens
