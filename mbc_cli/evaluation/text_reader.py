"""How the LLM reads passages as text, the same for every method that keeps text.

``kv-lora``: all tokens of each passage through the KV-LoRA that reads telegrams, side by side: the memory's
own reader, to which nothing was lost. ``prompt``: in the prompt of the untouched LLM, before the question, in
its chat template where it has one. Where there is nothing to read, the untouched LLM answers by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mbc_cli.batching import batched
from mbc_cli.errors import InputError, UsageError
from mbc_cli.evaluation.bank_bytes import kv_lora_bytes
from mbc_cli.evaluation.method import RANKED
from mbc_cli.evaluation.room import check_room, positions_of
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.model.frozen_config import FrozenConfig
from mbc_cli.model.llm.plain_tokenizer import PlainTokenizer
from mbc_cli.model.llm.prefix import HIDDEN
from mbc_cli.model.llm.pretrained import load_tokenizer
from mbc_cli.model.telegram.model import TelegramMemoryModel

CHAT_PROMPT = "{passages}\n\nQuestion: {question}\n\nAnswer with a few words from the text."
PLAIN_PROMPT = "{passages}"
"""What stands before the adapter's own prompt where the LLM has no chat template."""

EXAMPLE_PROMPT = (
    "Text: The museum in Lindholm was opened on 14 March by Mira Okafor.\n"
    "Question: Who opened the museum?\nAnswer: Mira Okafor\n\n"
    "Text: {passages}\nQuestion: {question}\nAnswer:"
)
"""For LLMs that go on with a text rather than follow an instruction."""


class ReadingOptions(FrozenConfig):
    """How much is read, and how."""

    reader: Literal["auto", "kv-lora", "prompt"] = Field(
        "auto", description="auto is kv-lora for adapters of telegrams, and prompt for others."
    )
    top_k: int | None = Field(
        None, ge=1, le=RANKED, description="Passages read; null is as many as the memory reads."
    )
    chat: bool = Field(
        True, description="Whether reader prompt uses the LLM's chat template, where it has one."
    )
    prompt: str | None = Field(
        None, description="What reader prompt has the LLM read, with {passages} and {question}."
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_names_its_parts(cls, prompt: str | None) -> str | None:
        missing = [part for part in ("{passages}", "{question}") if prompt is not None and part not in prompt]
        if missing:
            raise ValueError(f"it lacks {' and '.join(missing)}")
        if prompt is not None and prompt.count("{passages}") > 1:
            raise ValueError("it holds {passages} more than once")
        return prompt


READING_GRID: Sequence[Mapping[str, object]] = (
    {},
    {"top_k": 2},
    {"top_k": 4},
    {"reader": "prompt", "top_k": 4},
    {"reader": "prompt", "top_k": 4, "chat": False, "prompt": EXAMPLE_PROMPT},
)
"""What tuning chooses among, for methods that differ in what they find."""


class TextReader(ABC):
    """Reads passages of text for questions and answers greedily."""

    def __init__(self, memory: AnyMemory) -> None:
        self.memory = memory

    @property
    @abstractmethod
    def fixed_bytes(self) -> Mapping[str, float]:
        """What the reader adds to the LLM."""

    def read(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[str]],
        log_weights: Sequence[Sequence[float]],
        *,
        batch_size: int,
    ) -> list[str]:
        """Answers to ``questions``, each with its own ``passages``, best first.

        ``log_weights`` are logarithms of how much each passage counts, for readers that can weigh them.

        Raises:
            InputError: a question leaves the LLM no room for any text.
        """
        sizes = [sum(map(len, each)) for each in passages]
        answers = [""] * len(questions)
        for places in batched(sorted(range(len(questions)), key=sizes.__getitem__), batch_size):
            with_text = [place for place in places if passages[place]]
            without = [place for place in places if not passages[place]]
            said: list[str] = []
            if with_text:
                said = self._answers(
                    [questions[place] for place in with_text],
                    [passages[place] for place in with_text],
                    [log_weights[place] for place in with_text],
                )
            if without:
                asked = [questions[place] for place in without]
                said += [
                    each.text for each in self.memory.answer_without_memory(asked, batch_size=batch_size)
                ]
            for place, answer in zip([*with_text, *without], said, strict=True):
                answers[place] = answer
        return answers

    @abstractmethod
    def _answers(
        self, questions: Sequence[str], passages: Sequence[Sequence[str]], weights: Sequence[Sequence[float]]
    ) -> list[str]:
        """Answers of one batch; every question has passages."""

    def read_text(self, question: str, passages: Sequence[str]) -> str:
        """The text of what is read of ``passages`` for ``question``."""
        return "\n".join(passages)

    def _decoded(self, steps: Sequence[Tensor]) -> list[str]:
        return self.memory.tokenizers.decode_answers(torch.stack(list(steps), dim=1))


class KvLoraReader(TextReader):
    """Reads whole passages as the memory reads telegrams."""

    def __init__(self, memory: AnyMemory) -> None:
        super().__init__(memory)
        if not isinstance(memory.model, TelegramMemoryModel):
            raise UsageError(
                f"reader is 'kv-lora', but the adapter's method is {memory.model.config.method!r}, whose "
                "KV-LoRA has not learned to read text",
                "use reader prompt, or an adapter with method telegram",
            )
        self._model = memory.model

    @property
    def fixed_bytes(self) -> Mapping[str, float]:
        start = self._model.reader.start
        return {"KV-LoRA": kv_lora_bytes(self._model) + start.numel() * start.element_size()}

    @torch.inference_mode()
    def _answers(
        self, questions: Sequence[str], passages: Sequence[Sequence[str]], weights: Sequence[Sequence[float]]
    ) -> list[str]:
        model, tokenizers = self._model, self.memory.tokenizers
        # Each passage is read once, however many questions read it.
        distinct = {text: place for place, text in enumerate(dict.fromkeys(chain.from_iterable(passages)))}
        batch = tokenizers.encode_documents(list(distinct)).to(model.device)
        codes = batch.input_ids.masked_fill(batch.attention_mask == 0, model.reader.empty)
        width = max(map(len, passages))
        rows = torch.zeros(len(passages), width, dtype=torch.int64)
        counts = torch.full((len(passages), width), HIDDEN)
        for row, (texts, their) in enumerate(zip(passages, weights, strict=True)):
            rows[row, : len(texts)] = torch.tensor([distinct[text] for text in texts])
            counts[row, : len(texts)] = torch.tensor(list(their))
        log_weights = counts.to(model.device) if width > 1 else None
        prefix = model.reader(codes).side_by_side(rows.to(model.device), log_weights)
        prompts = tokenizers.encode_prompts(questions).to(model.device)
        check_room(self.memory, prompts.input_ids.shape[1], model.reader.prefix_length(codes.shape[1]))
        steps = model.stream(
            prefix, prompts.input_ids, prompts.attention_mask, stop_tokens=tokenizers.stop_tokens
        )
        return self._decoded([step.ids for step in steps])


class PromptReader(TextReader):
    """Has the untouched LLM read passages in its prompt; of text too long for it the end is left out."""

    def __init__(self, memory: AnyMemory, prompt: str | None = None, *, chat: bool = True) -> None:
        super().__init__(memory)
        own = memory.tokenizers.language_tokenizer
        # One that is run without transformers knows no chat template.
        self._tokenizer = load_tokenizer(str(own.directory)) if isinstance(own, PlainTokenizer) else own
        self._is_chat = chat and bool(self._tokenizer.chat_template)
        usual = CHAT_PROMPT if self._is_chat else PLAIN_PROMPT + memory.model.config.prompt
        self._prompt = usual if prompt is None else prompt
        self._start = "" if self._is_chat else _start(self._tokenizer)

    @property
    def fixed_bytes(self) -> Mapping[str, float]:
        return {}

    def read_text(self, question: str, passages: Sequence[str]) -> str:
        text = "\n\n".join(passage.strip() for passage in passages)
        positions = positions_of(self.memory)
        if positions is None:
            return text
        most = positions - self.memory.model.config.answer_tokens
        # Cut text may take other tokens, so what is still too much is cut again.
        while (excess := self._length(question, text) - most) > 0:
            offsets = self._tokenizer(
                text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )["offset_mapping"]
            if excess >= len(offsets):
                raise InputError(
                    f"a question of {len(question)} characters leaves no room for text among the "
                    f"{positions} positions of the LLM",
                    "ask a shorter question",
                )
            text = text[: offsets[len(offsets) - excess][0]].rstrip()
        return text

    def _answers(
        self, questions: Sequence[str], passages: Sequence[Sequence[str]], weights: Sequence[Sequence[float]]
    ) -> list[str]:
        model, tokenizers = self.memory.model, self.memory.tokenizers
        prompts = [
            self._filled(question, self.read_text(question, texts))
            for question, texts in zip(questions, passages, strict=True)
        ]
        batch = tokenizers.encode_prompt_texts(prompts, special=not self._is_chat).to(model.device)
        with torch.inference_mode(), model.backbone.without_lora():
            steps = model.stream(
                None, batch.input_ids, batch.attention_mask, stop_tokens=tokenizers.stop_tokens
            )
            said = self._decoded([step.ids for step in steps])
        # What follows the first line is no longer the answer.
        return [answer.partition("\n")[0].strip() for answer in said]

    def _length(self, question: str, text: str) -> int:
        filled = self._filled(question, text)
        return len(self._tokenizer(filled, add_special_tokens=not self._is_chat, verbose=False)["input_ids"])

    def _filled(self, question: str, text: str) -> str:
        # One pass over the wording: a text may hold the other's name in braces.
        before, _, after = self._prompt.partition("{passages}")
        filled = text.join(part.replace("{question}", question.strip()) for part in (before, after))
        if not self._is_chat:
            return self._start + filled
        message = [{"role": "user", "content": filled}]
        return str(self._tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


def _start(tokenizer: PreTrainedTokenizerBase) -> str:
    """What LLMs meet before any text, where the tokenizer does not put it there by itself."""
    begins = tokenizer("A")["input_ids"][:1] == [tokenizer.bos_token_id]
    return "" if begins or tokenizer.bos_token is None else str(tokenizer.bos_token)


def text_reader(memory: AnyMemory, options: ReadingOptions) -> TextReader:
    """The reader that ``options`` ask for.

    Raises:
        UsageError: the adapter cannot read so, or a prompt is set for a reader that has none.
    """
    is_telegram = isinstance(memory.model, TelegramMemoryModel)
    if options.reader == "prompt" or (options.reader == "auto" and not is_telegram):
        return PromptReader(memory, options.prompt, chat=options.chat)
    if options.prompt is not None:
        raise UsageError(
            f"prompt is set, but reader is {options.reader!r}, which reads text without one",
            "set reader to prompt as well",
        )
    return KvLoraReader(memory)
