"""The frozen LLM, and how a prefix enters it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.errors import MissingPackageError, install_hint
from mbc_cli.model.base_quantize import Quantize
from mbc_cli.model.llm.families import BackboneShape, family_of
from mbc_cli.model.llm.prefix import HIDDEN, Prefix, ReadPrompts
from mbc_cli.model.llm.pretrained import load_config, load_language_model, random_language_model
from mbc_cli.model.llm.rotary_config import RotaryConfig
from mbc_cli.model.llm.rotary_decoder import KeyValueCache, LayerStates, RotaryDecoder
from mbc_cli.model.llm.rotary_loading import load_decoder, plain_config
from mbc_cli.reporting import progress

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel

_UNLABELLED = -100
_LOGIT_ROWS = 128  # of a large vocabulary they take 50 MB
# What bitsandbytes multiplies in: activations of another type would be cast at every product.
_COMPUTE_TYPES = {"nf4": torch.bfloat16, "int8": torch.float16}


class GeneratedTokens(NamedTuple):
    """One token of each of B answers, (B,) int64, and how likely the LLM held it, (B,) float32 in nats.

    Rows that have stopped repeat their last token, which is then certain.
    """

    ids: Int[Tensor, " B"]
    log_likelihood: Float[Tensor, " B"]


class Backbone(nn.Module):
    """A frozen causal LLM that reads a prefix of keys and values before its tokens.

    It stays in evaluation mode whatever ``train()`` says, and none of its own weights requires a gradient;
    only KV-LoRA, once attached (kv_lora.py), is trainable.
    """

    def __init__(self, language_model: PreTrainedModel | RotaryDecoder, revision: str | None = None) -> None:
        super().__init__()
        self.family = family_of(language_model.config)
        self.shape = BackboneShape.of(language_model.config)
        self.revision = revision
        self.language_model: PreTrainedModel | PeftModel | RotaryDecoder = language_model.requires_grad_(
            False
        ).eval()

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | str = "auto",
        quantize: Quantize | None = None,
        to_train: bool = True,
    ) -> Backbone:
        """Load an LLM from a hub id or a local directory.

        ``quantize`` loads it in 4-bit NormalFloat or 8-bit integers through bitsandbytes, computing in
        bfloat16 or float16 whatever ``dtype`` says. One that is not ``to_train`` runs without `transformers`
        where that can be (rotary_decoder.py), and computes the same. Raises MbcError where the model cannot
        be found, its architecture is unsupported or bitsandbytes is missing.
        """
        config = load_llm_config(name, revision, quantize=quantize, to_train=to_train)
        family_of(config)  # before the weights are fetched
        if isinstance(config, RotaryConfig):
            with progress(f"loading the LLM {name}"):
                return cls(load_decoder(config, dtype)).to(device)
        options: dict[str, Any] = {"dtype": dtype}
        if quantize is not None:
            options = {
                "quantization_config": _bitsandbytes_config(quantize),
                "device_map": {"": device},
                "dtype": _COMPUTE_TYPES[quantize],
            }
        with progress(f"loading the LLM {name}"):
            language_model = load_language_model(name, config, revision=revision, **options)
        backbone = cls(language_model, getattr(config, "_commit_hash", None) or revision)
        return backbone if quantize is not None else backbone.to(device)

    @classmethod
    def from_config(cls, config: PretrainedConfig | RotaryConfig) -> Backbone:
        """An LLM with random weights; under ``torch.device("meta")`` one without storage."""
        family_of(config)
        return cls(
            RotaryDecoder(config) if isinstance(config, RotaryConfig) else random_language_model(config)
        )

    @property
    def transformer(self) -> Any:
        """The model itself, of `transformers` or our own, with any LoRA layers in place."""
        model: Any = self.language_model
        return model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT's has

    @property
    def quantized(self) -> bool:
        """Whether bitsandbytes holds the weights, which then cannot be moved or cast."""
        return bool(getattr(self.transformer, "is_quantized", False))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the hidden states, hence of the keys and values in the cache."""
        return self.transformer.get_input_embeddings().weight.dtype

    @property
    def device(self) -> torch.device:
        return self.transformer.get_input_embeddings().weight.device

    def train(self, mode: bool = True) -> Backbone:
        """Keeps the frozen LLM in evaluation mode: its dropout would only blur the memory's gradient."""
        return super().train(False)

    def without_lora(self) -> AbstractContextManager[None]:
        """A context in which the LLM computes as it did before KV-LoRA."""
        model = self.language_model
        disable: Any = getattr(model, "disable_adapter", nullcontext)  # PEFT's models have it, and ours
        return disable()

    def value_projections(self) -> Iterator[Float[Tensor, "D kv_width"]]:
        """For each layer, what one token's value adds to the states of those that attend to it alone.

        Matrices (D, kv_width) float32; none at all if the LLM is quantised.
        """
        shape = self.shape
        for layer in getattr(self.transformer.base_model, self.family.layers):
            weight = layer.get_submodule(self.family.output).weight.detach()
            if not weight.dtype.is_floating_point:
                return
            projection = (weight.T if self.family.fused else weight).float()
            # Query heads that share a value head all pass the same value on.
            grouped = projection.unflatten(1, (shape.kv_heads, -1, shape.head_dim))
            yield grouped.sum(2).flatten(1)

    def forward(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        prefix: Prefix | None = None,
    ) -> Float[Tensor, "B S vocabulary"]:
        """Next-token logits (B, S, vocabulary) for ids and mask (B, S), padded on either side."""
        cache, mask, positions = self._reading_state(attention_mask, prefix)
        output = self.transformer(
            input_ids=input_ids,
            attention_mask=self._weighted(mask, prefix, input_ids.shape[1]),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.logits

    def next_token_losses(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        prefix: Prefix | None = None,
    ) -> Float[Tensor, "B S"]:
        """Negative log-likelihood (B, S) float32, in nats, of each token but padding and each row's first.

        Those are 0. Logits are computed where they count alone: with large vocabularies they weigh most.
        """
        labels = _foreseen(input_ids, attention_mask)
        losses = self.losses_of(labels, input_ids, attention_mask, prefix)
        return torch.zeros(labels.shape, device=losses.device).masked_scatter(labels != _UNLABELLED, losses)

    def losses_of(
        self,
        labels: Int[Tensor, "B S"],
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        prefix: Prefix | None = None,
    ) -> Float[Tensor, " n"]:
        """Negative log-likelihood (n,) float32, in nats, of the n labels (B, S) that are not -100, in order.

        Each is foreseen by the token before it; the first of a row is foreseen by none and left out.
        """
        return self._losses(labels, self._read(input_ids, attention_mask, prefix).last_hidden_state)

    def read_prompts(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"], prefix: Prefix
    ) -> ReadPrompts:
        """Read prompts (B, S), padded on the left: how each is foreseen, and what an answer goes on from."""
        labels = _foreseen(input_ids, attention_mask)
        output = self._read(input_ids, attention_mask, prefix)
        losses = self._losses(labels, output.last_hidden_state)
        losses = torch.zeros(labels.shape, device=losses.device).masked_scatter(labels != _UNLABELLED, losses)
        before = prefix.log_weights
        if before is None:
            before = torch.zeros(prefix.batch, prefix.length, device=self.device)
        here = torch.zeros(labels.shape, device=self.device).masked_fill(attention_mask == 0, HIDDEN)
        start: Tensor | int = prefix.length if prefix.ends is None else prefix.ends
        return ReadPrompts(
            losses.sum(1),
            output.past_key_values,
            torch.cat([before, here], dim=1),
            start + attention_mask.sum(1),
            output.last_hidden_state[:, -1],
        )

    def _read(self, input_ids: Tensor, attention_mask: Tensor, prefix: Prefix | None) -> Any:
        """What the LLM itself returns for tokens after a prefix: states and, with a prefix, the cache."""
        cache, mask, positions = self._reading_state(attention_mask, prefix)
        return self.transformer.base_model(
            input_ids=input_ids,
            attention_mask=self._weighted(mask, prefix, input_ids.shape[1]),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )

    def _losses(self, labels: Tensor, states: Tensor) -> Tensor:
        """Negative log-likelihood (n,) of the labels (B, S) that count, each foreseen by the state before."""
        wanted = labels[:, 1:] != _UNLABELLED
        states, asked = states[:, :-1][wanted], labels[:, 1:][wanted]
        # Without a gradient nothing of the logits is kept, and few rows of them at a time suffice.
        together = max(len(asked) if torch.is_grad_enabled() else _LOGIT_ROWS, 1)
        head = self.transformer.get_output_embeddings()
        return torch.cat(
            [
                F.cross_entropy(head(part).float(), part_asked, reduction="none")
                for part, part_asked in zip(states.split(together), asked.split(together), strict=True)
            ]
        )

    def read_embeddings(
        self,
        embeddings: Float[Tensor, "B P D"],
        log_weights: Float[Tensor, "B P"] | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Prefix:
        """The prefix the LLM makes of input embeddings (B, P, D): the keys and values of reading them.

        ``log_weights`` (B, P) of the tokens count while they are read, as they count in the prefix. Of each
        row only the first ``lengths`` (B,) int64 tokens are text; what follows is hidden.
        """
        mask = None
        if log_weights is not None:
            everything = torch.ones(embeddings.shape[:2], dtype=torch.int64, device=embeddings.device)
            mask = _causal_mask(everything, log_weights, embeddings.shape[1], self.dtype)
        cache = self.transformer.base_model(
            inputs_embeds=embeddings.to(self.dtype), attention_mask=mask, use_cache=True
        ).past_key_values
        states = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])
        if lengths is not None:
            # Reading is causal: nothing has seen the padding on the right.
            padding = torch.arange(embeddings.shape[1], device=lengths.device) >= lengths[:, None]
            if log_weights is None:
                log_weights = torch.zeros(embeddings.shape[:2], device=embeddings.device)
            log_weights = log_weights.masked_fill(padding, HIDDEN)
        return Prefix(states, log_weights, lengths)

    @torch.no_grad()
    def greedy_tokens(
        self,
        input_ids: Int[Tensor, "B S"],
        attention_mask: Int[Tensor, "B S"],
        prefix: Prefix | None,
        *,
        max_new_tokens: int,
        stop_tokens: tuple[int, ...] = (),
    ) -> Iterator[GeneratedTokens]:
        """Yield the likeliest next token of every row, one step at a time.

        Prompts (B, S) are padded on the left; a prefix with a ``next_state`` ends with them, and they are not
        read again. A row that has produced a stop token repeats it; the iterator ends when every row has
        stopped or after ``max_new_tokens``. One loop serves streaming and batches alike, which is why this is
        not `transformers`' ``generate``.
        """
        if not bool(attention_mask[:, -1].all()):
            raise ValueError(
                "prompts must be padded on the left: the last column of attention_mask has zeros"
            )
        state = None if prefix is None else prefix.next_state
        tokens, ids = input_ids[:, -1], input_ids
        if state is not None:
            ids, attention_mask = input_ids[:, :0], attention_mask[:, :0]
        cache, mask, positions = self._reading_state(attention_mask, prefix)
        if state is not None:
            assert prefix is not None
            assert prefix.ends is not None
            positions = prefix.ends[:, None] - 1
        stops = torch.tensor(stop_tokens, dtype=torch.int64, device=input_ids.device)
        stopped = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        for _ in range(max_new_tokens):
            if state is None:
                output = self.transformer.base_model(
                    input_ids=ids,
                    attention_mask=self._weighted(mask, prefix, ids.shape[1]),
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                )
                cache, state = output.past_key_values, output.last_hidden_state[:, -1]
            # Two axes: on three torch multiplies row by row, each with a copy of the embedding table.
            logits = self.transformer.get_output_embeddings()(state)
            best = logits.float().log_softmax(-1).max(-1)
            tokens = torch.where(stopped, tokens, best.indices)
            chances = best.values.masked_fill(stopped, 0)
            stopped = stopped | torch.isin(tokens, stops)
            yield GeneratedTokens(tokens, chances)
            if bool(stopped.all()):
                return
            state = None
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], dim=1)

    def _reading_state(self, attention_mask: Tensor, prefix: Prefix | None) -> tuple[Any, Tensor, Tensor]:
        """The cache, the mask over prefix and tokens, and the position of every token.

        Tokens are numbered from where the prefix ends and padding on the left is not counted, so a row's
        positions do not depend on the side or the amount of its padding.
        """
        mask = attention_mask.to(torch.int64)
        length = 0 if prefix is None else prefix.length
        start = length if prefix is None or prefix.ends is None else prefix.ends[:, None]
        left_padding = (mask.cumsum(-1) == 0).sum(-1, keepdim=True)
        positions = (torch.arange(mask.shape[1], device=mask.device) - left_padding).clamp(min=0) + start
        if prefix is None:
            return None, mask, positions
        mask = torch.cat([mask.new_ones(mask.shape[0], length), mask], dim=1)
        return self._cache(prefix), mask, positions

    def _cache(self, prefix: Prefix) -> Any:
        """A fresh cache that holds ``prefix``, of the kind that the LLM extends."""
        if not isinstance(self.language_model, RotaryDecoder):
            return prefix.to_cache(self.dtype)
        states = prefix.states.to(self.dtype)
        return KeyValueCache([LayerStates(layer[0], layer[1]) for layer in states])

    def _weighted(self, mask: Tensor, prefix: Prefix | None, queries: int) -> Tensor:
        """What `transformers` takes as mask for the last tokens: the mask itself, or one with weights."""
        if prefix is None or prefix.log_weights is None:
            return mask
        return _causal_mask(mask, prefix.log_weights, queries, self.dtype)


def _foreseen(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Labels (B, S) of the tokens that have one before them."""
    foreseen = (attention_mask[:, 1:] * attention_mask[:, :-1]) > 0
    return F.pad(input_ids[:, 1:].masked_fill(~foreseen, _UNLABELLED), (1, 0), value=_UNLABELLED)


def _causal_mask(mask: Tensor, log_weights: Tensor, queries: int, dtype: torch.dtype) -> Tensor:
    """The attention bias (B, 1, queries, S) of the last ``queries`` of S tokens.

    ``mask`` (B, S) is 0 on padding; ``log_weights`` (B, P) belong to the first P tokens. `transformers` hands
    a mask of four axes to the attention as it is.
    """
    tokens = mask.shape[1]
    log_weights = log_weights.clamp_min(torch.finfo(dtype).min).to(dtype)
    bias = F.pad(log_weights, (0, tokens - log_weights.shape[1]))[:, None, None]
    places = torch.arange(tokens, device=mask.device)
    unseen = (places > places[-queries:, None]) | (mask[:, None, None] == 0)
    return bias.expand(-1, -1, queries, -1).masked_fill(unseen, torch.finfo(dtype).min)


def load_llm_config(
    name: str, revision: str | None = None, *, quantize: Quantize | None = None, to_train: bool = True
) -> PretrainedConfig | RotaryConfig:
    """The configuration of the LLM that `Backbone.from_pretrained` loads, given the same arguments.

    Raises MbcError if there is none.
    """
    plain = None if to_train or quantize else plain_config(name)
    return plain or load_config(name, revision)


def _bitsandbytes_config(quantize: Quantize) -> Any:
    """How `transformers` should quantise the base. Raises MbcError if bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPackageError(
            f"a base quantised to {quantize} needs the package bitsandbytes, which is not installed",
            hint=install_hint("quantize"),
        )
    from transformers import BitsAndBytesConfig

    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=_COMPUTE_TYPES["nf4"]
    )
