"""Requests and responses in OpenAI's form, with what the memory adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mbc_cli.server.choice import Choice
from mbc_cli.server.failures import missing_model, refused
from mbc_cli.server.limits import FinishReason, Limits, as_stops
from mbc_cli.server.memory_forms import MOST_QUESTIONS, MemoryPart, Reading

NOT_IN_MEMORY = "not in memory"  # the text of an answer that is withheld, as on the command line

# Would change what is answered, and cannot be done: refused, unless it has the value that changes nothing.
# All else that is unknown, and what steers sampling, has no effect: answers are generated greedily.
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "echo": (False,),
    "suffix": ("",),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
}


class StreamOptions(BaseModel):
    """What a stream ends with."""

    include_usage: bool = False


class Generate(BaseModel):
    """What both forms of requests have in common.

    Sampling parameters (``temperature``, ``top_p``, ``seed`` and the like) are accepted and have no effect.
    """

    model_config = ConfigDict(extra="allow")

    model: str = Field(description="The id that /v1/models lists.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens of the answer at most.")
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    memory: Reading = Field(default_factory=Reading, description="What is read of the memory.")

    def check(self, model: str) -> None:
        """Raise RequestFailure where another model is asked for, or something that cannot be done."""
        if self.model != model:
            raise missing_model(self.model, model)
        for name, value in (self.model_extra or {}).items():
            accepted = _REFUSED.get(name)
            if accepted is not None and value is not None and value not in accepted:
                raise refused(name, "is not supported by this server", "leave it out")

    def limits(self) -> Limits:
        """Where the answer is cut."""
        return Limits(self.max_tokens, as_stops(self.stop))

    def choice(self) -> Choice:
        """What is read of the memory."""
        return self.memory.choice()

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class TextPart(BaseModel):
    """A part of a message; only texts can be read."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """Its text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class ChatRequest(Generate):
    """A conversation. The last message of the user is the question; what stands before is not read."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, description="As max_tokens, and goes before it.")

    def limits(self) -> Limits:
        """Where the answer is cut."""
        tokens = self.max_completion_tokens or self.max_tokens
        return Limits(tokens, as_stops(self.stop))

    @property
    def question(self) -> str:
        """The last message of the user. Raises RequestFailure where there is none."""
        asked = [message for message in self.messages if message.role == "user"]
        if not asked or not asked[-1].text.strip():
            raise refused("messages", "hold no text of the user, which would be the question")
        return asked[-1].text


class CompletionRequest(Generate):
    """One prompt or several; each is a question."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_QUESTIONS)]

    @property
    def questions(self) -> list[str]:
        """The prompts as a list. Raises RequestFailure where one is empty."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if not all(prompt.strip() for prompt in prompts):
            raise refused("prompt", "is empty, or one of several is")
        return prompts


class Usage(BaseModel):
    """Tokens of the LLM: the question in the adapter's prompt, without what is read of the memory."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt: int, completion: int) -> Usage:
        """The counts and their sum."""
        return cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


class ChatMessage(BaseModel):
    """What is answered; "not in memory" where the answer is withheld (``memory.abstained``)."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """The one answer."""

    index: int = 0
    message: ChatMessage
    finish_reason: FinishReason
    logprobs: None = None


class ChatCompletion(BaseModel):
    """OpenAI's chat completion, and where it is from."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    memory: MemoryPart


class CompletionChoice(BaseModel):
    """The answer to one prompt, and where it is from."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: None = None
    memory: MemoryPart


class Completion(BaseModel):
    """OpenAI's completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class Model(BaseModel):
    """An adapter and its LLM."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "mbc"


class Models(BaseModel):
    """All models: one."""

    object: Literal["list"] = "list"
    data: list[Model]
