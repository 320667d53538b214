"""What every memory model does: texts become codes, and a frozen LLM answers from a prefix (MBC section 3).

documents -> amortizer -> code space -> quantizer -> codes, and prefix -> frozen LLM -> answer.
How a question turns codes into a prefix is for the methods to say: whole_bank/model.py, select/model.py.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.bank import Bank, Reading
from mbc_cli.model.batches import TokenBatch, TrainingBatch, TrainingLoss
from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import load_lora_state, lora_state
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.quantizer import PassThrough, QuantizerOutput, VectorQuantizer

_LORA = "kv_lora."  # prefix of KV-LoRA's names in the memory state


class MemoryModel(nn.Module, ABC):
    """A frozen LLM with the modules that give it a memory; build.py puts the parts together.

    Subclasses add how a question reads the codes, and with it the objective they are trained on.

    Shapes: B rows of a batch, S tokens, T slots, C columns of a code, D the LLM's hidden size, L levels,
    K codes. Ids and masks are (B, S) int64, with padding on either side for the LLM and on the right
    elsewhere.
    """

    def __init__(
        self,
        config: MemoryConfig,
        backbone: Backbone,
        *,
        amortizer: nn.Module,
        code_space: IdentityCodeSpace | ProjectedCodeSpace,
        quantizer: PassThrough | VectorQuantizer,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.amortizer = amortizer
        self.code_space = code_space
        self.quantizer = quantizer

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @property
    def context_width(self) -> int:
        """C, the columns of a context vector as it is quantised."""
        return self.code_space.width

    @property
    def ranks_passages(self) -> bool:
        """Whether questions find single passages, which can then be scored and named."""
        return self.config.ranks_passages

    @property
    def has_codebooks(self) -> bool:
        """Whether codes mean something yet: not so in the part of a training before quantising starts."""
        return True

    def finish_training(self) -> None:
        """Make what was trained ready to be saved as an adapter, wherever its training stopped."""
        self.quantizer.number_by_usage()

    # Documents to codes and back.

    def encode_documents(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Context vectors (B, T, C) float32 of documents, before quantisation, in one forward pass."""
        return self.code_space.enter(self.amortizer(input_ids, attention_mask)).float()

    def quantize(self, context_vectors: Tensor) -> QuantizerOutput:
        """Codes of context vectors (B, T, C); in training mode also updates the codebooks."""
        return self.quantizer(context_vectors)

    def decode(self, passages: Tensor) -> Tensor:
        """Codes (N, T, L) int64, by a codebook look-up, or context vectors (N, T, C) -> (N, T, D)."""
        vectors = passages if passages.is_floating_point() else self.quantizer.decode(passages)
        return self.code_space.leave(vectors)

    # Questions to prefixes.

    @abstractmethod
    def read(self, questions: TokenBatch, bank: Bank, k: int | None = None) -> Reading:
        """What B questions, padded on the right, find in ``bank``, in the ``k`` best passages of each.

        ``k`` is for models that rank passages; None is the configuration's own number.
        """

    # Prefixes to answers.

    def answer_logits(self, prefix: Prefix | None, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Next-token logits (B, S, vocabulary) of the LLM with its memory; without a prefix, of its LoRA."""
        return self.backbone(input_ids, attention_mask, prefix)

    def answer_loss(
        self, prefix: Prefix | None, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> Tensor:
        """Mean negative log-likelihood, in nats, of the tokens whose label is not -100."""
        logits = self.answer_logits(prefix, input_ids, attention_mask)[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten())

    def generate(
        self,
        prefix: Prefix | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        max_new_tokens: int | None = None,
        stop_tokens: tuple[int, ...] = (),
    ) -> Tensor:
        """Greedy answers (B, n) int64 to prompts padded on the left; rows that stopped repeat their stop."""
        steps = self.stream(
            prefix, input_ids, attention_mask, max_new_tokens=max_new_tokens, stop_tokens=stop_tokens
        )
        return torch.stack(list(steps), dim=1)

    def stream(
        self,
        prefix: Prefix | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        *,
        max_new_tokens: int | None = None,
        stop_tokens: tuple[int, ...] = (),
    ) -> Iterator[Tensor]:
        """`generate` one token of every row, (B,), at a time."""
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

    def training_state(self) -> dict[str, Tensor]:
        """What a process needs beside the weights to continue a training exactly; empty if nothing."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `training_state` returned."""

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

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with anything that changes the codes of a document.

        Over the weights of amortizer, code space and codebooks, and the settings that shape their result.
        """
        digest = hashlib.sha256()
        quantizer = self.config.quantizer
        codebook = "shared" if quantizer.kind == "none" else quantizer.codebook
        for setting in (self.config.attends_to_padding, codebook):
            digest.update(repr(setting).encode())
        for part in (self.amortizer, self.code_space, self.quantizer):
            for name, value in sorted(part.state_dict().items()):
                if name in ("usage", "sums"):  # statistics of training, of no effect on codes
                    continue
                digest.update(f"{name}{tuple(value.shape)}".encode())
                digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]
