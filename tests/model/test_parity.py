"""Every stage equals the published implementation's output on the same weights and inputs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mbc_cli.model.whole_bank.aggregation import WeightedVectors
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from tests.support.published import KINDS, Published

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=KINDS)
def published(request: pytest.FixtureRequest) -> Published:
    return Published.of(request.param)


@pytest.fixture(scope="module")
def model(published: Published) -> WholeBankMemoryModel:
    return published.model()


@pytest.fixture(autouse=True)
def _no_gradients(request: pytest.FixtureRequest):
    with torch.set_grad_enabled("trains" in request.node.name):
        yield


def question_of(model: WholeBankMemoryModel, published: Published):
    return model.encode_questions(
        published.inputs["gen_q_ids_amort"], published.inputs["gen_q_attn_mask_amort"]
    )


def batch_latent(model: WholeBankMemoryModel, published: Published) -> torch.Tensor:
    bank = WeightedVectors(published.expected["quantized"].flatten(0, 1))
    return model.aggregator(question_of(model, published), bank)


def test_dimensions_are_read_off_the_checkpoint(model: WholeBankMemoryModel, published: Published) -> None:
    config, dimensions = model.config, published.dimensions
    assert config.context_vectors == dimensions["num_virtual_tokens"]
    assert config.quantizer.codebook_size == dimensions["num_codes"]
    assert config.modulation.prefix_tokens == dimensions["layer_num_virtual_tokens"]
    assert config.modulation.hidden == dimensions["token_mlp_hidden"]
    assert config.aggregation.blocks == dimensions["num_cross_attention_blocks"]
    assert config.aggregation.heads == dimensions["cross_attention_heads"]
    assert config.kv_lora.rank == dimensions["lora_r"]
    assert config.kv_lora.last_layers == dimensions["lora_last_n_layers"]


def test_context_vectors_are_equal(model: WholeBankMemoryModel, published: Published) -> None:
    vectors = model.encode_documents(
        published.inputs["text_ids_amort"], published.inputs["text_attention_amort"]
    )
    assert published.difference("context_vectors", vectors) < TOLERANCE


def test_codes_and_quantiser_figures_are_equal(model: WholeBankMemoryModel, published: Published) -> None:
    output = model.quantize(published.expected["context_vectors"])
    assert output.codes is not None
    assert torch.equal(output.codes[..., 0], published.expected["codes"])
    assert published.difference("quantized", output.quantized) < TOLERANCE
    assert published.difference("vq_loss", output.loss) < TOLERANCE
    assert published.difference("vq_perplexity", output.perplexity) < TOLERANCE


def test_latent_and_modulation_over_the_batch_are_equal(
    model: WholeBankMemoryModel, published: Published
) -> None:
    latent = batch_latent(model, published)
    assert published.difference("batch_latent", latent) < TOLERANCE
    assert published.difference("batch_modulation", model.modulation(latent).states) < TOLERANCE


def test_losses_are_equal_with_the_prefix_with_and_without_lora_and_without_both(
    model: WholeBankMemoryModel, published: Published
) -> None:
    prefix = model.modulation(batch_latent(model, published))
    inputs, expected = published.inputs, published.expected
    answer = inputs["qa_ids"], inputs["qa_attention"], inputs["qa_target_ids"]
    text = inputs["text_ids"], inputs["text_attention"], inputs["text_ids"]
    assert published.difference("qa_loss", model.answer_loss(prefix, *answer)) < TOLERANCE
    assert published.difference("total_loss", model.training_loss(published.batch()).total) < TOLERANCE
    with model.backbone.without_lora():
        assert published.difference("text_loss", model.answer_loss(prefix, *text)) < TOLERANCE
        base_text, base_answer = model.answer_loss(None, *text), model.answer_loss(None, *answer)
    assert published.difference("text_gain_from_base", base_text - expected["text_loss"]) < TOLERANCE
    assert published.difference("qa_gain_from_base", base_answer - expected["qa_loss"]) < TOLERANCE


def test_reading_a_bank_of_counts_equals_the_published_reading_of_its_codes(
    model: WholeBankMemoryModel, published: Published
) -> None:
    codes = published.inputs["memory_bank_codes"].reshape(-1, model.config.context_vectors)
    counts = F.one_hot(codes, model.config.quantizer.codebook_size).sum(0)[:, None]
    question = question_of(model, published)
    latent = model.aggregator(question, model.attended_by_counts(counts))
    assert published.difference("bank_latent", latent) < TOLERANCE
    prefix = model.prefix(question, model.attended_by_counts(counts))
    assert published.difference("bank_modulation", prefix.states) < TOLERANCE
    logits = model.answer_logits(prefix, published.inputs["qa_ids"], published.inputs["qa_attention"])
    assert published.difference("qa_logits_with_bank", logits) < TOLERANCE
    prompts = published.inputs["generation_prompt_ids"]
    new = published.expected["greedy_token_ids"].shape[1] - prompts.shape[1]
    answers = model.generate(prefix, prompts, torch.ones_like(prompts), max_new_tokens=new)
    assert torch.equal(torch.cat([prompts, answers], dim=1), published.expected["greedy_token_ids"])


def test_it_trains_to_the_published_losses_usage_and_codebook(published: Published) -> None:
    model = published.model().train()
    model.quantizer.usage.fill_(1)
    parameters = model.trainable_parameters()
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    losses = []
    for step in range(4):
        loss = model.training_loss(published.batch(f"train_step_{step}."))
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 100)
        optimizer.step()
        losses.append(loss.total.detach())
    assert published.difference("train_losses_adam_lr1e-3", torch.stack(losses)) < 1e-3
    assert published.difference("ema_cluster_size_after_4_steps", model.quantizer.usage[0, 0]) < TOLERANCE
    assert published.difference("codebook_after_4_steps", model.quantizer.codebooks[0, 0]) < TOLERANCE


@pytest.mark.parametrize("vectors", ["below", "equal", "above"])
def test_a_checkpoint_of_any_number_of_context_vectors_modulates_by_the_published_rule(
    published: Published, vectors: str
) -> None:
    """Stated once more in plain steps from the published tensors: slot by slot, with one vector each."""
    layers = int(published.dimensions["num_hidden_layers"])
    slots = 2 * layers  # P = 1
    count = {"below": layers, "equal": slots, "above": slots + 3}[vectors]
    checkpoint = published.resized(count)
    model = published.model(checkpoint)
    assert (model.config.context_vectors, model.config.modulation.prefix_tokens) == (count, 1)

    latent = batch_latent(model, published)
    assert latent.shape[1] == count
    states = model.modulation(latent).states

    source = [vector for vector in range(count) for _ in range(slots // count + (vector < slots % count))]
    assert (
        source
        == {
            "below": [vector for vector in range(layers) for _ in range(2)],
            "equal": list(range(slots)),
            "above": list(range(slots)),  # the rest is dropped
        }[vectors]
    )
    for slot in range(slots):
        net = {
            part: checkpoint["state_dict"][f"token_SA.mlp_layers.{slot}.net.{part}"]
            for part in ("0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias")
        }
        x = latent[:, source[slot]]
        inner = F.layer_norm(x, x.shape[-1:], net["0.weight"], net["0.bias"])
        inner = F.gelu(F.linear(inner, net["1.weight"], net["1.bias"]))
        expected = x + F.linear(inner, net["4.weight"], net["4.bias"])
        layer, value = divmod(slot, 2)
        given = states[layer, value, :, :, 0].flatten(1)  # (batch, heads x head_dim)
        assert torch.allclose(given, expected, atol=TOLERANCE)
