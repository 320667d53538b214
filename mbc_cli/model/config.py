"""The frozen, validated description of one memory model: a tagged union of the methods.

An adapter directory stores this as ``config.yaml``; a preset ships it. Each method, and within it each kind
of part, has the settings that it reads and no others, so what would be ignored cannot be written. Nothing
here imports torch, so the command line can read, check and print configurations quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, field_validator

from mbc_cli.model.base_quantize import Quantize
from mbc_cli.model.frozen_config import FrozenConfig, one_of

MOST_LAYERS = 1000
"""Of anything that is built one by one: a file that asks for millions would take hours to be refused."""

# What context vectors become (MBC section 3.2). Names as in the vector-quantize-pytorch package.


class UnquantizedConfig(FrozenConfig):
    """Context vectors stay as they are: MAC (arXiv 2403.04317)."""

    kind: Literal["none"] = "none"


class CodebookConfig(FrozenConfig):
    """Settings of all learned codebooks."""

    kind: str
    codebook: Literal["shared", "per-slot"] = Field(
        "shared", description="One codebook for all slots, as published, or one for each."
    )
    codebook_size: int = Field(512, ge=2, le=65536, description="K, codes per codebook.")
    codebook_dim: int | None = Field(
        None, ge=1, description="C, columns of a code; the LLM's width if unset."
    )
    commitment_cost: float = Field(0.25, ge=0)
    update: Literal["gradient", "ema"] = "gradient"
    decay: float = Field(0.99, gt=0, lt=1, description="EMA decay of code usage.")
    threshold_ema_dead_code: float = Field(
        1e-4, ge=0, description="Codes whose EMA usage is below this are replaced."
    )
    reset_fraction: float | None = Field(
        None, ge=0, lt=1, description="Codes used less than this fraction of the mean are replaced as well."
    )


class VqConfig(CodebookConfig):
    """One code for each context vector, as published."""

    kind: Literal["vq"] = "vq"
    num_quantizers: ClassVar[int] = 1


class RvqConfig(CodebookConfig):
    """Several codes for each, every one of what the ones before it left over."""

    kind: Literal["rvq"] = "rvq"
    num_quantizers: int = Field(2, ge=2, le=MOST_LAYERS, description="L, residual levels.")


class QuantizationScheduleConfig(FrozenConfig):
    """When training starts to quantise; all fractions are of the whole training."""

    unquantized: float = Field(0.35, ge=0, le=1, description="Fraction trained with noise instead of codes.")
    ramp: float = Field(0.1, ge=0, le=1, description="Fraction over which slots are quantised more and more.")
    noise: float = Field(
        0.2, ge=0, description="Standard deviation of the noise that stands for quantisation."
    )


class ScheduledVqConfig(VqConfig):
    """One that comes into a training by and by."""

    schedule: QuantizationScheduleConfig = QuantizationScheduleConfig()


class ScheduledRvqConfig(RvqConfig):
    """As `ScheduledVqConfig`."""

    schedule: QuantizationScheduleConfig = QuantizationScheduleConfig()


class SharedVqConfig(ScheduledVqConfig):
    """For slots that hold any token: codebooks of their own would learn the same codes many times."""

    codebook: Literal["shared"] = "shared"


class SharedRvqConfig(ScheduledRvqConfig):
    """As `SharedVqConfig`."""

    codebook: Literal["shared"] = "shared"


class VocabularyConfig(FrozenConfig):
    """The codebook is the LLM's own embedding table, a code a token: nothing to learn in it."""

    kind: Literal["vocabulary"] = "vocabulary"
    num_quantizers: ClassVar[int] = 1
    kept: float = Field(
        0.5, gt=0, le=1, description="Fraction of a passage's tokens that are kept, at most context_vectors."
    )
    added_rarity: float = Field(0.0, ge=0, description="How much more rarity counts than training has it.")


# Parts of all methods.


class KvLoraConfig(FrozenConfig):
    """Low-rank adapters on the key and value projections of the last layers."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    last_layers: int = Field(
        6, ge=1, le=MOST_LAYERS, description="How many of the LLM's last layers carry adapters."
    )


class _MethodConfig(FrozenConfig):
    """What every method's configuration has."""

    ranks_passages: ClassVar[bool]
    always_quantizes: ClassVar[bool]

    method: str
    base_model: str = Field(description="The frozen LLM: hub id or local directory.")
    base_revision: str | None = None
    base_quantize: Quantize | None = Field(
        None, description="Load the frozen LLM quantised through bitsandbytes."
    )
    prompt: str = Field(
        "Question: {question}\nAnswer:", description="What the LLM reads before it writes an answer."
    )
    answer_tokens: int = Field(32, ge=1, description="Longest generated answer, in tokens.")
    context_vectors: int = Field(12, ge=1, description="T, context vectors of a passage, one in each slot.")
    kv_lora: KvLoraConfig = KvLoraConfig()
    quantizer: VqConfig | RvqConfig | UnquantizedConfig | VocabularyConfig

    @field_validator("prompt")
    @classmethod
    def _prompt_asks(cls, prompt: str) -> str:
        if "{question}" not in prompt:
            raise ValueError("it must contain '{question}'")
        return prompt

    @property
    def scores_can_be_calibrated(self) -> bool:
        """Whether passages are selected by their codes, with a score that tells how well one answers."""
        return self.ranks_passages and self.quantizer.kind != "none"

    @property
    def encoders(self) -> Mapping[str, str]:
        """Models with tokenizers of their own that read "document" and "question", where not the LLM does."""
        return {}

    @property
    def attends_to_padding(self) -> bool:
        """Whether a text's context vectors depend on how far it is padded."""
        return False


# The published method (MBC).


class T5AmortizationConfig(FrozenConfig):
    """A T5 whose decoder reads T learned prompts turns a text into context vectors (MBC section 3.1)."""

    document_t5: str = Field("t5-small", description="T5 that reads documents: hub id or local directory.")
    question_t5: str = Field("t5-small", description="T5 that reads questions: hub id or local directory.")
    attend_to_padding: bool = Field(
        False,
        description="Let the T5 decoder attend to padding, as published checkpoints were trained to.",
    )
    document_tokens: int = Field(512, ge=8, description="Longest window of a document, in tokens.")
    question_tokens: int = Field(128, ge=4, description="Longest question, in tokens.")


class AggregationConfig(FrozenConfig):
    """How a question attends to what it reads (MBC section 3.3)."""

    blocks: int = Field(4, ge=1, le=MOST_LAYERS, description="Cross-attention blocks.")
    heads: int = Field(8, ge=1)
    head_dimension: int = Field(96, ge=1)


class ModulationConfig(FrozenConfig):
    """How what was read becomes a key and value prefix in every layer."""

    prefix_tokens: int = Field(2, ge=1, description="P, prefix tokens per layer.")
    hidden: int = Field(768, ge=1, description="Width of each prefix slot's feed-forward.")
    latent_overflow: Literal["average", "truncate"] = Field(
        "average",
        description="With more context vectors than P N 2 prefix slots: average neighbours, or use the first "
        "ones and drop the rest, as published checkpoints were trained to.",
    )


class WholeBankConfig(_MethodConfig):
    """Every question reads the whole bank, through the counts of its codes."""

    method: Literal["whole-bank"] = "whole-bank"
    ranks_passages: ClassVar[bool] = False
    always_quantizes: ClassVar[bool] = True

    amortization: T5AmortizationConfig = T5AmortizationConfig()
    quantizer: Annotated[
        VqConfig | UnquantizedConfig, one_of("kind", {"vq": VqConfig, "none": UnquantizedConfig})
    ] = VqConfig()
    aggregation: AggregationConfig = AggregationConfig()
    modulation: ModulationConfig = ModulationConfig()

    @property
    def encoders(self) -> Mapping[str, str]:
        return {"document": self.amortization.document_t5, "question": self.amortization.question_t5}

    @property
    def attends_to_padding(self) -> bool:
        return self.amortization.attend_to_padding


# Select-then-read (docs/how-it-works.md).


class TrunkAmortizationConfig(FrozenConfig):
    """A trunk initialised from the frozen LLM's own first blocks reads texts."""

    trunk_layers: int = Field(
        2, ge=1, le=MOST_LAYERS, description="Blocks of the trunk, which read in both directions."
    )
    document_tokens: int = Field(512, ge=8, description="Longest window of a document, in tokens.")
    question_tokens: int = Field(128, ge=4, description="Longest question, in tokens.")


class SelectionConfig(FrozenConfig):
    """How passages are found for a question."""

    top_k: int = Field(1, ge=1, description="Passages read per question.")
    dimension: int = Field(32, ge=1, description="Columns of the vectors that are matched.")


class SelectLossConfig(FrozenConfig):
    """Weights of what select-then-read is trained on beside the answers' likelihood."""

    selection: float = Field(0.5, ge=0)
    salience: float = Field(0.5, ge=0)


class MemoryQueueConfig(FrozenConfig):
    """The documents trained on last, kept as their context vectors."""

    size: int = Field(1024, ge=1, description="Documents kept, for negatives and for k-means.")
    negatives: int = Field(256, ge=0, description="Of them, those that selection has to tell apart as well.")


class RelevanceConfig(FrozenConfig):
    """A question weighs the slots of what it reads. For passages that report several things."""

    layers: int = Field(
        ge=1, le=MOST_LAYERS, description="Layers that judge which slots a question is about."
    )
    weight: float = Field(1.0, ge=0, description="Of the loss that teaches it.")


class SoftTokensConfig(FrozenConfig):
    """The frozen LLM itself reads decoded slots as input embeddings."""

    kind: Literal["soft-tokens"] = "soft-tokens"


class WeighedSoftTokensConfig(SoftTokensConfig):
    """The same, where slots are words in their order."""

    relevance: RelevanceConfig | None = None


class SlotAttentionConfig(AggregationConfig):
    """As published, over the selected passages: P vectors of the question attend to the decoded slots."""

    kind: Literal["slot-attention"] = "slot-attention"
    prefix_tokens: int = Field(2, ge=1, description="P: vectors of the question, prefix tokens per layer.")
    hidden: int = Field(768, ge=1, description="Width of each prefix slot's feed-forward.")
    answer_head: float = Field(
        0.0, ge=0, description="Weight of reading answer tokens off the latent; falls to 30 % in training."
    )


class _SelectConfig(_MethodConfig):
    """The passages that speak to a question are found by their codes, and only they are read."""

    method: Literal["select"] = "select"
    ranks_passages: ClassVar[bool] = True
    always_quantizes: ClassVar[bool] = False  # training begins with noise instead

    pooling: str
    amortization: TrunkAmortizationConfig = TrunkAmortizationConfig()
    selection: SelectionConfig = SelectionConfig()
    loss: SelectLossConfig = SelectLossConfig()
    memory_queue: MemoryQueueConfig = MemoryQueueConfig()


class SelectTokensConfig(_SelectConfig):
    """Slots are the T most salient tokens of a passage, in their order."""

    pooling: Literal["tokens"] = "tokens"
    quantizer: Annotated[
        SharedVqConfig | SharedRvqConfig | UnquantizedConfig,
        one_of("kind", {"vq": SharedVqConfig, "rvq": SharedRvqConfig, "none": UnquantizedConfig}),
    ] = SharedVqConfig()
    reading: Annotated[
        WeighedSoftTokensConfig | SlotAttentionConfig,
        one_of("kind", {"soft-tokens": WeighedSoftTokensConfig, "slot-attention": SlotAttentionConfig}),
    ] = WeighedSoftTokensConfig()


class SelectSlotsConfig(_SelectConfig):
    """Slots are T learned queries that attend to all tokens of a passage."""

    pooling: Literal["slots"] = "slots"
    quantizer: Annotated[
        ScheduledVqConfig | ScheduledRvqConfig | UnquantizedConfig,
        one_of("kind", {"vq": ScheduledVqConfig, "rvq": ScheduledRvqConfig, "none": UnquantizedConfig}),
    ] = ScheduledVqConfig()
    reading: Annotated[
        SoftTokensConfig | SlotAttentionConfig,
        one_of("kind", {"soft-tokens": SoftTokensConfig, "slot-attention": SlotAttentionConfig}),
    ] = SoftTokensConfig()


SelectConfig = Annotated[
    SelectTokensConfig | SelectSlotsConfig,
    one_of("pooling", {"tokens": SelectTokensConfig, "slots": SelectSlotsConfig}),
]

# Telegrams (docs/how-it-works.md).


class TelegramReadingConfig(FrozenConfig):
    """How the LLM learns to read telegrams."""

    whole: float = Field(
        0.5, ge=0, le=1, description="Fraction of passages read whole at first; 0 from 60 % of training on."
    )
    distractors: int = Field(
        3, ge=0, description="The most other passages read beside the right one in training."
    )
    candidates: int = Field(
        4,
        ge=0,
        description="Of the passages found first, those ranked again by how well the LLM, having read each, "
        "foresees the question; 0 for none.",
    )
    foresight: float = Field(1.0, ge=0, description="Weight of that beside the score that found them.")
    margin: float = Field(16.0, ge=0, description="Candidates further behind are not read, in its nats.")


class TelegramLossConfig(SelectLossConfig):
    """As `SelectLossConfig`."""

    question: float = Field(0.25, ge=0, description="Of foreseeing the question from its passage.")


class TelegramConfig(_MethodConfig):
    """Passages are kept as their most telling tokens, and found by what questions share with them."""

    method: Literal["telegram"] = "telegram"
    ranks_passages: ClassVar[bool] = True
    always_quantizes: ClassVar[bool] = True

    context_vectors: int = Field(32, ge=1, description="T, the most tokens of a passage that are kept.")
    quantizer: Annotated[VocabularyConfig, one_of("kind", {"vocabulary": VocabularyConfig})] = (
        VocabularyConfig()
    )
    amortization: TrunkAmortizationConfig = TrunkAmortizationConfig()
    selection: SelectionConfig = SelectionConfig(dimension=64)
    reading: TelegramReadingConfig = TelegramReadingConfig()
    loss: TelegramLossConfig = TelegramLossConfig()
    memory_queue: MemoryQueueConfig = MemoryQueueConfig()


MemoryConfig = Annotated[
    SelectConfig | WholeBankConfig | TelegramConfig,
    one_of("method", {"select": SelectConfig, "whole-bank": WholeBankConfig, "telegram": TelegramConfig}),
]
"""Everything needed to build a memory model around a frozen LLM."""


def parse_memory_config(tree: Mapping[str, Any]) -> MemoryConfig:
    """The configuration that a YAML tree describes.

    Raises pydantic's ValidationError where a key is unknown to the method or a value is not accepted.
    """
    config: MemoryConfig = TypeAdapter(MemoryConfig).validate_python(tree)
    return config
