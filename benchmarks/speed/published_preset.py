"""The distilgpt2 preset with random weights, and the published implementation's way of using such a model.

That way, as the paper and its code have it: every document padded to 1,022 tokens, sixteen at a time in the
order they come; a module per slot, called one after the other; the bank copied for each question of a batch;
and, in training, three more passes of the LLM for the log. The T5s of its time had no fused attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.batches import TrainingBatch
from mbc_cli.model.build import build_memory_model
from mbc_cli.model.llm.architectures import model_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.per_slot import PerSlotLayerNorm, PerSlotLinear
from mbc_cli.model.whole_bank.aggregation import WeightedVectors
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from mbc_cli.model.whole_bank.modulation import spread_slots
from mbc_cli.model.whole_bank.t5_encoder import T5SlotEncoder
from mbc_cli.presets import load_preset

LONGEST = 1022


def build_preset() -> WholeBankMemoryModel:
    """The model of ``mbc adapt --preset distilgpt2``, its weights and the T5s' random."""
    torch.manual_seed(0)
    config = load_preset("distilgpt2").model
    backbone = Backbone.from_config(model_config(config.base_model))
    model = build_memory_model(config, backbone, weights_follow=True)
    assert isinstance(model, WholeBankMemoryModel)
    return model.eval()


def encode_as_published(model: WholeBankMemoryModel, rows: list[list[int]]) -> list[Tensor]:
    """Codes (B, T, 1) of each sixteen documents, given by their tokens."""
    codes = []
    with torch.no_grad(), attention_of_its_time(model):
        for first in range(0, len(rows), 16):
            ids, mask = padded(rows[first : first + 16], LONGEST)
            output = model.quantize(_slots_one_by_one(model.amortizer, ids, mask))
            assert output.codes is not None
            codes.append(output.codes)
    return codes


def loss_as_published(model: WholeBankMemoryModel, batch: TrainingBatch, text_tokens: int) -> Tensor:
    """The loss of a step on ``batch``, whose documents are padded as the T5 is to read them.

    The LLM reads the ``text_tokens`` of each that are no padding.
    """
    with attention_of_its_time(model):
        vectors = _slots_one_by_one(model.amortizer, batch.document_ids, batch.document_mask)
        question = _slots_one_by_one(model.question_encoder, batch.question_ids, batch.question_mask)
    quantized = model.quantize(vectors)
    prefix = _prefix_of(model, question, model.decode(quantized.quantized).flatten(0, 1))
    asked = (batch.answer_input_ids, batch.answer_mask, batch.answer_labels)
    # For the log: the text itself with the memory, and both without memory and KV-LoRA.
    with torch.no_grad(), model.backbone.without_lora():
        read = (
            batch.document_ids,
            batch.document_mask,
            batch.document_ids.masked_fill(batch.document_mask == 0, -100),
        )
        for each, its in ((prefix, read), (None, read), (None, asked)):
            _loss_of_all_logits(model, each, *(rows[:, :text_tokens] for rows in its))
    return _loss_of_all_logits(model, prefix, *asked) + quantized.loss


def prefix_as_published(model: WholeBankMemoryModel, ids: Tensor, mask: Tensor, codes: Tensor) -> Prefix:
    """The prefix of questions (B, S) from a bank's codes (N, T, 1) int64, all of which are decoded."""
    with torch.no_grad():
        with attention_of_its_time(model):
            question = _slots_one_by_one(model.question_encoder, ids, mask)
        return _prefix_of(model, question, model.decode(codes).flatten(0, 1))


@contextmanager
def attention_of_its_time(model: WholeBankMemoryModel) -> Iterator[None]:
    """The T5s compute all attention weights, as those of `transformers` did without exception."""
    parts = [part for t5 in (model.amortizer, model.question_encoder) for part in (t5.encoder, t5.decoder)]
    for part in parts:
        part.config._attn_implementation = "eager"
    try:
        yield
    finally:
        for part in parts:
            part.config._attn_implementation = "sdpa"


def padded(rows: list[list[int]], longest: int | None = None) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, S) of rows of ids, S the longest of them or ``longest``."""
    width = longest or max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


def _prefix_of(model: WholeBankMemoryModel, question: Tensor, bank: Tensor) -> Prefix:
    """What questions (B, T, D) read of a bank (n, D), copied for each of them."""
    copies = bank[None].repeat(len(question), 1, 1)
    latent = model.aggregator(question, WeightedVectors(copies))
    slots = spread_slots(latent, model.modulation.slots, model.modulation.overflow)
    modulation = model.modulation
    states = []
    for slot in range(modulation.slots):
        inner = _norm(modulation.norm, slot, slots[:, slot])
        inner = _linear(modulation.leave, slot, F.gelu(_linear(modulation.enter, slot, inner)))
        states.append(slots[:, slot] + inner)
    shape = model.backbone.shape
    return replace(
        modulation(latent[:1]),
        states=modulation.to_kv(torch.stack(states, dim=1))
        .reshape(-1, modulation.prefix_tokens, shape.layers, 2, shape.kv_heads, shape.head_dim)
        .permute(2, 3, 0, 4, 1, 5),
    )


def _loss_of_all_logits(
    model: WholeBankMemoryModel, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor
) -> Tensor:
    logits = model.answer_logits(prefix, ids, mask)[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())


def _slots_one_by_one(encoder: T5SlotEncoder, ids: Tensor, mask: Tensor) -> Tensor:
    states = encoder.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    decoded = encoder.decoder(
        inputs_embeds=encoder.prompts.expand(len(ids), -1, -1),
        encoder_hidden_states=states,
        encoder_attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    projection = encoder.projection
    slots = []
    for slot in range(decoded.shape[1]):
        x = decoded[:, slot]
        skip = x if isinstance(projection.skip, nn.Identity) else _linear(projection.skip, slot, x)
        inner = torch.tanh(_linear(projection.enter, slot, _norm(projection.norm, slot, x)))
        slots.append(skip + _linear(projection.leave, slot, inner))
    return torch.stack(slots, dim=1)


def _linear(layer: PerSlotLinear, slot: int, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight[slot].T, layer.bias[slot])


def _norm(layer: PerSlotLayerNorm, slot: int, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], layer.weight[slot], layer.bias[slot], layer.eps)
