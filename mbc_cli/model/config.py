"""The frozen, validated description of one memory model.

An adapter directory stores this as ``config.yaml``; a preset ships it. Nothing here imports torch, so
the command line can read, check and print configurations quickly.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FrozenConfig(BaseModel):
    """Base of every configuration object: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AmortizationConfig(FrozenConfig):
    """How a text becomes context vectors (MBC section 3.1).

    ``t5`` is the published network. ``backbone`` reads with a trunk initialised from the frozen
    LLM's own first blocks (docs/how-it-works.md), and pools what it read in one of two ways: ``tokens``
    keeps the T most salient tokens in their order, ``slots`` lets T learned queries attend to all of them.
    """

    kind: Literal["t5", "backbone"] = "t5"
    pooling: Literal["tokens", "slots"] = Field("tokens", description="backbone only: what a slot holds.")
    document_t5: str = Field("t5-small", description="T5 that reads documents: hub id or local directory.")
    question_t5: str = Field("t5-small", description="T5 that reads questions: hub id or local directory.")
    attend_to_padding: bool = Field(
        False,
        description="Let the T5 decoder attend to padding, as published checkpoints were trained to.",
    )
    trunk_layers: int = Field(2, ge=1, description="Bidirectional blocks of the backbone trunk.")
    document_tokens: int = Field(512, ge=8, description="Longest window of a document, in tokens.")
    question_tokens: int = Field(128, ge=4, description="Longest question, in tokens.")


class QuantizerConfig(FrozenConfig):
    """How context vectors become codes (MBC section 3.2)."""

    kind: Literal["none", "vq", "rvq"] = "vq"
    codebook: Literal["shared", "per-slot"] = "shared"
    codes: int = Field(512, ge=2, le=65536, description="K, codes per codebook.")
    levels: int = Field(1, ge=1, description="L, residual levels; above 1 only for rvq.")
    code_dimension: int | None = Field(None, ge=1, description="Width of a code; the LLM's width if unset.")
    commitment_cost: float = Field(0.25, ge=0)
    update: Literal["gradient", "ema"] = "gradient"
    decay: float = Field(0.99, gt=0, lt=1, description="EMA decay of code usage.")
    reset_threshold: float = Field(1e-4, ge=0, description="Codes whose EMA usage is below this are reset.")
    reset_fraction: float | None = Field(
        None, ge=0, lt=1, description="Codes used less than this fraction of the mean are reset as well."
    )

    @model_validator(mode="after")
    def _levels_fit_the_kind(self) -> QuantizerConfig:
        if self.kind != "rvq" and self.levels != 1:
            raise ValueError(
                f"quantizer.levels is {self.levels} but quantizer.kind is {self.kind!r}: "
                "use kind 'rvq' for more than one level"
            )
        return self


class AggregationConfig(FrozenConfig):
    """How a question reads the bank: all of it (MBC section 3.3) or the passages selected for it."""

    kind: Literal["whole-bank", "select"] = "whole-bank"
    blocks: int = Field(4, ge=1, description="Cross-attention blocks.")
    heads: int = Field(8, ge=1)
    head_dimension: int = Field(96, ge=1)
    top_k: int = Field(1, ge=1, description="select only: passages read per question.")
    selection_dimension: int = Field(32, ge=1, description="select only: width of the vectors that match.")


class ModulationConfig(FrozenConfig):
    """How what was read becomes a key and value prefix in every layer.

    ``slots`` is the published way: the question attends to what it reads, and the latent is modulated. With
    ``soft-tokens`` the frozen LLM itself reads the decoded slots of the selected passages as input
    embeddings (docs/how-it-works.md), as far as ``relevance_layers`` find them relevant.
    """

    kind: Literal["slots", "soft-tokens"] = "slots"
    prefix_tokens: int = Field(
        2,
        ge=1,
        description="slots only: P, prefix tokens per layer; with select also the question's vectors.",
    )
    hidden: int = Field(768, ge=1, description="slots only: width of each slot's feed-forward.")
    relevance_layers: int = Field(
        0,
        ge=0,
        description="soft-tokens of token pooling only: layers that judge which slots of a passage a "
        "question is about; 0 reads all of them alike. For passages that report several things.",
    )


class KvLoraConfig(FrozenConfig):
    """Low-rank adapters on the key and value projections of the last layers."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    last_layers: int = Field(6, ge=1, description="How many of the LLM's last layers carry adapters.")


class LossConfig(FrozenConfig):
    """Weights of what select-then-read is trained on beside the answers' likelihood."""

    selection: float = Field(0.5, ge=0)
    salience: float = Field(0.5, ge=0)
    relevance: float = Field(1.0, ge=0, description="Of slots to questions; with relevance_layers only.")
    answer_head: float = Field(
        0.0, ge=0, description="Answer tokens read off the latent; modulation slots only; falls to 30 %."
    )
    negatives: int = Field(
        256, ge=0, description="Recent documents that selection has to tell apart as well."
    )
    remembered: int = Field(1024, ge=1, description="Recent documents kept for negatives and for k-means.")


class QuantizationScheduleConfig(FrozenConfig):
    """When training starts to quantise; all fractions are of the whole training (select only)."""

    unquantized: float = Field(0.35, ge=0, le=1, description="Fraction trained with noise instead of codes.")
    ramp: float = Field(0.1, ge=0, le=1, description="Fraction over which slots are quantised more and more.")
    noise: float = Field(
        0.2, ge=0, description="Standard deviation of the noise that stands for quantisation."
    )


class MemoryConfig(FrozenConfig):
    """Everything needed to build a memory model around a frozen LLM."""

    base_model: str = Field(description="The frozen LLM: hub id or local directory.")
    base_revision: str | None = None
    base_quantize: Literal["nf4", "int8"] | None = Field(
        None, description="Load the frozen LLM quantised through bitsandbytes."
    )
    prompt: str = Field(
        "Question: {question}\nAnswer:", description="What the LLM reads before it writes an answer."
    )
    context_vectors: int = Field(12, ge=1, description="T, context vectors (slots) per passage.")
    amortization: AmortizationConfig = AmortizationConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    aggregation: AggregationConfig = AggregationConfig()
    modulation: ModulationConfig = ModulationConfig()
    kv_lora: KvLoraConfig = KvLoraConfig()
    loss: LossConfig = LossConfig()
    schedule: QuantizationScheduleConfig = QuantizationScheduleConfig()
    answer_tokens: int = Field(32, ge=1, description="Longest generated answer, in tokens.")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> MemoryConfig:
        if "{question}" not in self.prompt:
            raise ValueError(f"prompt is {self.prompt!r}: it must contain '{{question}}'")
        if self.aggregation.kind == "whole-bank" and self.quantizer.levels > 1:
            raise ValueError(
                "aggregation 'whole-bank' reads a histogram of single codes and cannot use "
                f"quantizer.levels={self.quantizer.levels}: set levels to 1 or aggregation to 'select'"
            )
        if (self.aggregation.kind == "select") != (self.amortization.kind == "backbone"):
            raise ValueError(
                f"aggregation.kind is {self.aggregation.kind!r} and amortization.kind "
                f"{self.amortization.kind!r}: use either select and backbone, or whole-bank and t5"
            )
        if self.aggregation.kind == "whole-bank":
            self._whole_bank_has_no_options_of_select()
        if (
            self.amortization.kind == "backbone"
            and self.amortization.pooling == "tokens"
            and self.quantizer.codebook == "per-slot"
        ):
            raise ValueError(
                "amortization.pooling 'tokens' puts any token in any slot, so a codebook per slot would "
                "learn the same codes many times: set quantizer.codebook to 'shared' or "
                "amortization.pooling to 'slots'"
            )
        if self.loss.answer_head and self.modulation.kind == "soft-tokens":
            raise ValueError(
                f"loss.answer_head is {self.loss.answer_head} but modulation.kind 'soft-tokens' has no "
                "latent to read answers off: set it to 0 or modulation.kind to 'slots'"
            )
        if self.modulation.relevance_layers and (self.modulation.kind, self.amortization.pooling) != (
            "soft-tokens",
            "tokens",
        ):
            raise ValueError(
                f"modulation.relevance_layers is {self.modulation.relevance_layers} but modulation.kind is "
                f"{self.modulation.kind!r} and amortization.pooling {self.amortization.pooling!r}: set it to "
                "0, or use 'soft-tokens' and 'tokens', whose slots are words in their order"
            )
        return self

    def _whole_bank_has_no_options_of_select(self) -> None:
        for name, value, usual in (
            ("modulation.kind", self.modulation.kind, "slots"),
            ("amortization.pooling", self.amortization.pooling, "tokens"),
            ("loss.answer_head", self.loss.answer_head, 0.0),
        ):
            if value != usual:
                raise ValueError(
                    f"{name} is {value!r}, which only aggregation.kind 'select' has: "
                    f"set it to {usual!r} or the aggregation to 'select'"
                )
