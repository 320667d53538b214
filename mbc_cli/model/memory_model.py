"""What every memory model does: texts become codes, and a frozen LLM answers from a prefix (MBC section 3).

documents -> amortizer -> code space -> quantizer -> codes, and prefix -> frozen LLM -> answer.
How a question turns codes into a prefix is for the methods to say: whole_bank/model.py, select/model.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mbc_cli.model.bank import Bank, EncodedPassages, Reading, Times
from mbc_cli.model.batches import TokenBatch, TrainingBatch, TrainingLoss
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.backbone import Backbone, GeneratedTokens
from mbc_cli.model.llm.kv_lora import load_lora_state, lora_state
from mbc_cli.model.llm.prefix import Prefix

_LORA = "kv_lora."  # prefix of KV-LoRA's names in the memory state


class MemoryModel(nn.Module, ABC):
    """A frozen LLM with the modules that give it a memory; build.py puts the parts together.

    Subclasses add how a question reads the codes, and with it the objective they are trained on.

    Shapes: B rows of a batch, S tokens, T slots, C columns of a code, D the LLM's hidden size, L levels,
    K codes. Ids and masks are (B, S) int64, with padding on either side for the LLM and on the right
    elsewhere.
    """

    def __init__(self, config: MemoryConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @property
    def ranks_passages(self) -> bool:
        """Whether questions find single passages, which can then be scored and named."""
        return self.config.ranks_passages

    @property
    def codes_are_tokens(self) -> bool:
        """Whether the code of a slot is a token of the LLM, or one past them where the slot is not in use."""
        return self.config.quantizer.kind == "vocabulary"

    @property
    def has_codebooks(self) -> bool:
        """Whether codes mean something yet: not so in the part of a training before quantising starts."""
        return True

    def finish_training(self) -> None:
        """Make what was trained ready to be saved as an adapter, wherever its training stopped."""

    # Documents to passages of a bank.

    @property
    @abstractmethod
    def context_width(self) -> int:
        """C, the columns of the vector that the codes of a slot stand for."""

    @property
    @abstractmethod
    def code_shape(self) -> tuple[int, int, int]:
        """(T, L, K): slots of a passage, quantisers, and codes that each may hold."""

    def fit_bank(self, slots: int) -> None:
        """Make and read passages of as many slots as a bank has. Raises ValueError where T is learned."""
        if slots != self.config.context_vectors:
            raise ValueError(
                f"a bank has {slots} slots, but this model's passages have {self.config.context_vectors}"
            )

    @abstractmethod
    def encode_passages(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> EncodedPassages:
        """Passages (B, S) as a bank holds them, in one forward pass."""

    # Questions to prefixes.

    @abstractmethod
    def read(
        self,
        questions: TokenBatch,
        bank: Bank,
        k: int | None = None,
        prompts: TokenBatch | None = None,
        times: Times | None = None,
    ) -> Reading:
        """What B questions, padded on the right, find in ``bank``, in the ``k`` best passages of each.

        ``k`` is for models that rank passages; None is the configuration's own number. ``prompts``, padded on
        the left, are the questions as the LLM will meet them: some models judge by them what they found. With
        ``times`` the newest of near-equal passages come first (:func:`~mbc_cli.model.bank.newest_first`).
        """

    # Prefixes to answers.

    def answer_logits(
        self,
        prefix: Prefix | None,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
    ) -> Float[Tensor, "B S vocabulary"]:
        """Next-token logits (B, S, vocabulary) of the LLM with its memory; without a prefix, of its LoRA."""
        return self.backbone(input_ids, attention_mask, prefix)

    def answer_loss(
        self,
        prefix: Prefix | None,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        labels: Int[Tensor, "B S"],
    ) -> Float[Tensor, ""]:
        """Mean negative log-likelihood, in nats, of the tokens whose label is not -100."""
        return self.backbone.losses_of(labels, input_ids, attention_mask, prefix).mean()

    def generate(
        self,
        prefix: Prefix | None,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        *,
        max_new_tokens: int | None = None,
        stop_tokens: tuple[int, ...] = (),
    ) -> Int[Tensor, "B n"]:
        """Greedy answers (B, n) int64 to prompts padded on the left; rows that stopped repeat their stop."""
        steps = self.stream(
            prefix, input_ids, attention_mask, max_new_tokens=max_new_tokens, stop_tokens=stop_tokens
        )
        return torch.stack([step.ids for step in steps], dim=1)

    def stream(
        self,
        prefix: Prefix | None,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        *,
        max_new_tokens: int | None = None,
        stop_tokens: tuple[int, ...] = (),
    ) -> Iterator[GeneratedTokens]:
        """`generate` one token of every row at a time, with its likelihood."""
        return self.backbone.greedy_tokens(
            input_ids,
            attention_mask,
            prefix,
            max_new_tokens=max_new_tokens or self.config.answer_tokens,
            stop_tokens=stop_tokens,
        )

    # Training.

    def training_loss(self, batch: TrainingBatch, progress: float = 0.0) -> TrainingLoss:
        """The objective for one batch. ``progress`` is the part of the training that is done.

        Raises ValueError if ``progress`` is not in [0, 1].
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress}: it must lie in [0, 1]")
        return self._objective(batch, progress)

    @abstractmethod
    def _objective(self, batch: TrainingBatch, progress: float) -> TrainingLoss:
        """What the method minimises."""

    def forward(self, batch: TrainingBatch, progress: float = 0.0) -> TrainingLoss:
        """`training_loss`, under the name that data-parallel wrappers call."""
        return self.training_loss(batch, progress)

    def prepare_training(self, documents: Iterable[Tensor]) -> None:
        """Take what is needed of the whole training set before it begins: the ids (S,) of each passage."""

    def training_state(self) -> dict[str, Tensor]:
        """What a process needs beside the weights to continue a training exactly; empty if nothing."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `training_state` returned."""

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Those that learn and were not made anew: a part of an LLM, copied."""
        return []

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Everything that learns: the memory modules and KV-LoRA, not the frozen LLM."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def memory_state_dict(self) -> dict[str, Tensor]:
        """All weights and buffers but the frozen LLM's; KV-LoRA under PEFT's names after ``kv_lora.``."""
        return self.module_state() | {
            _LORA + name: value for name, value in lora_state(self.backbone).items()
        }

    def load_memory_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load what `memory_state_dict` returned. Raises ValueError where names or shapes do not fit."""
        lora = {name.removeprefix(_LORA): value for name, value in state.items() if name.startswith(_LORA)}
        self.load_module_state({name: value for name, value in state.items() if not name.startswith(_LORA)})
        load_lora_state(self.backbone, lora)

    def module_state(self) -> dict[str, Tensor]:
        """Weights and buffers of the memory modules, without KV-LoRA."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("backbone.")}

    def adapter_state(self) -> dict[str, Tensor]:
        """`module_state` as an adapter keeps it, perhaps in smaller types once training is finished."""
        return self.module_state()

    def load_module_state(self, state: dict[str, Tensor]) -> None:
        """Load what `module_state` returned. Raises ValueError where names or shapes do not fit."""
        try:
            result = self.load_state_dict(state, strict=False)
        except RuntimeError as error:  # shapes that differ
            raise ValueError(f"the weights do not fit this memory model: {error}") from error
        missing = [name for name in result.missing_keys if not name.startswith("backbone.")]
        if missing or result.unexpected_keys:
            raise ValueError(
                "the weights do not fit this memory model: "
                f"missing {missing[:3]}, unexpected {result.unexpected_keys[:3]}"
            )

    def save_architectures(self, directory: Path) -> None:
        """Write what `build_memory_model` needs of networks whose form the configuration does not tell."""

    @abstractmethod
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with anything that changes what codes mean."""
