"""``fine-tuning``: a LoRA learns each document as it comes, by next-token loss, and nothing else is kept.

The uniform online fine-tuning that CaMeLS (Hu et al. 2023, arXiv 2305.15076) and MAC compare with, through
PEFT on all linear layers instead of all weights. Questions are answered from the prompt alone.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.method import Method, MethodBytes, Reply, Setting
from mbc_cli.evaluation.options import read_options
from mbc_cli.evaluation.room import check_room, positions_of
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.inference.adapters import resolve_adapter
from mbc_cli.model.adapter import base_of
from mbc_cli.model.frozen_config import FrozenConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.rotary_decoder import RotaryDecoder

_LONGEST = 512
"""Tokens of a document that are read in one context; a longer one is read piece by piece."""


class FineTuningOptions(FrozenConfig):
    """How the LoRA learns."""

    learning_rate: float = Field(3e-4, gt=0, description="Of AdamW, constant.")
    steps: int = Field(1, ge=1, description="Steps on each group of documents, as they come.")
    batch: int = Field(1, ge=1, description="Documents of a step.")
    rank: int = Field(16, ge=1, description="Of the LoRA; its alpha is twice that.")


class FineTuningMethod(Method):
    """Learns with a LoRA of its own, on a second view of the LLM: the shared one is not touched."""

    name = "fine-tuning"
    threshold = None
    GRID: Sequence[Mapping[str, object]] = (
        {},
        {"learning_rate": 1e-4},
        {"learning_rate": 1e-3},
        {"steps": 4},
        {"steps": 4, "learning_rate": 1e-3},
    )

    def __init__(self, memory: AnyMemory, options: FineTuningOptions, seed: int = 0) -> None:
        self._memory = memory
        self._tokenizers = memory.tokenizers
        self._answer_tokens = memory.model.config.answer_tokens
        self._options = options
        self._backbone = _with_own_lora(memory, options.rank, seed)
        self._learned = {
            name: value for name, value in self._backbone.named_parameters() if value.requires_grad
        }
        self._optimizer = torch.optim.AdamW(
            self._learned.values(), lr=options.learning_rate, weight_decay=0.0
        )
        self._waiting: list[Document] = []

    @classmethod
    def make(cls, setting: Setting) -> FineTuningMethod:
        """With the setting's options and seed.

        Raises:
            UsageError: an option is not accepted.
        """
        options = read_options(FineTuningOptions, cls.name, setting.options)
        return cls(setting.memory, options, setting.seed)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        """Learn ``documents``; those that do not fill a step wait for more, or for a question."""
        self._waiting += documents
        whole = len(self._waiting) // self._options.batch * self._options.batch
        ready, self._waiting = self._waiting[:whole], self._waiting[whole:]
        for group in batched(ready, self._options.batch):
            self._learn(group)

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        if not self._waiting:
            return self._answer(questions, batch_size)
        # Learned for these questions alone, so that it makes no difference when questions come.
        weights = {name: value.detach().clone() for name, value in self._learned.items()}
        state = copy.deepcopy(self._optimizer.state_dict())
        self._learn(self._waiting)
        replies = self._answer(questions, batch_size)
        with torch.no_grad():
            for name, value in weights.items():
                self._learned[name].copy_(value)
        self._optimizer.load_state_dict(state)
        return replies

    def bytes(self) -> MethodBytes:
        sizes = (value.numel() * value.element_size() for value in self._learned.values())
        return MethodBytes({}, {"LoRA": float(sum(sizes))})

    def _answer(self, questions: Sequence[Question], batch_size: int) -> list[Reply]:
        replies: list[Reply] = []
        for batch in batched([question.question for question in questions], batch_size):
            prompts = self._tokenizers.encode_prompts(batch).to(self._backbone.device)
            check_room(self._memory, prompts.input_ids.shape[1])
            steps = self._backbone.greedy_tokens(
                prompts.input_ids,
                prompts.attention_mask,
                None,
                max_new_tokens=self._answer_tokens,
                stop_tokens=self._tokenizers.stop_tokens,
            )
            ids = torch.stack([step.ids for step in steps], dim=1)
            replies += [Reply(text) for text in self._tokenizers.decode_answers(ids)]
        return replies

    def _learn(self, documents: Sequence[Document]) -> None:
        pieces = self._pieces([document.text for document in documents])
        count = sum(max(len(piece) - 1, 0) for piece in pieces)
        if not count:
            return
        for _ in range(self._options.steps):
            self._optimizer.zero_grad()
            for piece in pieces:  # one at a time: it bounds memory, and lengths differ
                if len(piece) > 1:
                    ids = torch.tensor([piece], device=self._backbone.device)
                    loss: Tensor = self._backbone.next_token_losses(ids, torch.ones_like(ids)).sum() / count
                    loss.backward()
            self._optimizer.step()

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        longest = min(_LONGEST, positions_of(self._memory) or _LONGEST)
        rows = self._tokenizers.language_tokenizer(texts, add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        return [ids[first : first + longest] for ids in rows for first in range(0, len(ids), longest)]


def _plain_llm(memory: AnyMemory) -> Any:
    """The memory's LLM as `transformers` has it, without KV-LoRA: with the very same weights where it is one
    already, else loaded once more."""
    shared = memory.model.backbone
    if isinstance(shared.language_model, RotaryDecoder):
        place = resolve_adapter(memory.adapter_name).directory
        name, revision = base_of(memory.model.config, place)
        return Backbone.from_pretrained(name, revision=revision, device=shared.device).language_model
    model: Any = shared.language_model
    same = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    view = copy.deepcopy(model, same)
    return view.unload() if isinstance(view, PeftModel) else view


def _with_own_lora(memory: AnyMemory, rank: int, seed: int) -> Backbone:
    """The memory's LLM once more, with a new LoRA and not its KV-LoRA."""
    shared = memory.model.backbone
    view = _plain_llm(memory)
    backbone = Backbone(view, shared.revision)
    lora = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        fan_in_fan_out=shared.family.fused,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # PEFT asks by a name that transformers deprecates; who runs an evaluation can do nothing about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        torch.manual_seed(seed)
        learning: Any = get_peft_model(view, lora)
    backbone.language_model = learning.eval()
    return backbone
