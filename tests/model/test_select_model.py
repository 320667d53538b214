"""Select-then-read: what the codes must say, what the LLM must read, and what training may touch."""

from __future__ import annotations

import pytest
import torch

from mbc_cli.errors import MbcError
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.build import build_memory_model
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import lora_parameters
from tests.support.tiny_select_models import (
    BACKBONES,
    ONE_LEVEL,
    SLOTS,
    TWO_LEVELS,
    WIDTH,
    asking_for_tokens,
    assert_finite_gradients_under_autocast,
    batch,
    build,
    config,
    fit,
)


def test_context_vectors_start_as_the_embeddings_of_the_most_salient_tokens_in_order() -> None:
    model, data = build().eval(), batch()
    amortizer = model.amortizer
    with torch.no_grad():
        pooled = amortizer.pool(data.document_ids, data.document_mask)
    vectors, salience, slot_ids = pooled
    kept = salience[1].topk(SLOTS).indices.sort().values
    table = model.backbone.transformer.get_input_embeddings().weight
    expected = table[data.document_ids[1, kept]] - table.mean(0)
    expected = expected / expected.square().mean(-1, keepdim=True).sqrt()
    assert torch.allclose(vectors[1], expected, atol=1e-5)
    # The first document has four tokens for six slots.
    assert torch.equal(vectors[0, 4:], amortizer.empty.expand(2, -1))  # type: ignore[union-attr]
    assert torch.equal(slot_ids[1], data.document_ids[1, kept])
    assert slot_ids[0].tolist() == [*data.document_ids[0, :4].tolist(), -1, -1]


def test_the_prefix_of_codes_is_what_the_llm_computes_from_the_decoded_slots(each_backbone: str) -> None:
    """Without quantisation, projection and LoRA, reading the memory is reading the tokens themselves."""
    model, data = build(each_backbone).eval(), batch()
    embeddings = model.backbone.transformer.get_input_embeddings()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (1, 1, SLOTS, 1))
    with torch.no_grad():
        prefix = model.prefix(
            model.encode_questions(data.question_ids[:1], data.question_mask[:1]), codes, torch.ones(1, 1)
        )
        assert prefix.length == 1 + SLOTS
        slots = model.amortizer.embeddings.restore(model.decode(codes[0])[0])
        tokens = [model.reader.start[None], slots]  # type: ignore[list-item]
        prompt, mask = data.question_ids[:1], data.question_mask[:1]
        read = torch.cat([torch.cat(tokens)[None], embeddings(prompt)], dim=1)
        whole = model.backbone.transformer(inputs_embeds=read).logits[:, -prompt.shape[1] :]
        with_prefix = model.answer_logits(prefix, prompt, mask)
    assert torch.allclose(whole, with_prefix, atol=1e-4)


def test_of_two_passages_the_better_stands_next_to_the_question_and_both_are_read(each_backbone: str) -> None:
    model, data = build(each_backbone, TWO_LEVELS).eval(), batch()
    prompt, mask = data.question_ids[:1], data.question_mask[:1]
    codes = torch.randint(TWO_LEVELS["codebook_size"], (1, 2, SLOTS, 2))
    with torch.no_grad():
        model.quantizer.initialise_from(torch.randn(40, SLOTS, 20))
        question = model.encode_questions(prompt, mask)

        def read(best_first: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            prefix = model.prefix(question, best_first, torch.zeros(best_first.shape[:2]))
            return prefix.states, model.answer_logits(prefix, prompt, mask)

        states, logits = read(codes)
        # What stands first is read without knowing of what follows.
        first, second_best_only = read(codes[:, 1:])
        assert torch.allclose(states[..., : 1 + SLOTS, :], first, atol=1e-5)
        for other in (second_best_only, read(codes[:, :1])[1], read(codes.flip(1))[1]):
            assert (logits - other).abs().max() > 1e-3


def test_training_reaches_the_llm_only_through_low_rank_keys_and_values(each_backbone: str) -> None:
    model, data = build(each_backbone).train(), batch()
    model.training_loss(data).total.backward()
    reached = {name: p for name, p in model.backbone.named_parameters() if p.grad is not None}
    assert reached.keys() == lora_parameters(model.backbone).keys()
    fused = each_backbone.startswith("gpt2")
    places = {tuple(name.partition(".lora_")[0].split(".")) for name in reached}
    assert {place[-1] for place in places} == ({"c_attn"} if fused else {"k_proj", "v_proj"})
    assert {next(part for part in place if part.isdigit()) for place in places} == {"1", "2"}
    up = [p for name, p in reached.items() if ".lora_B." in name]
    assert all(p.grad is not None and p.grad.abs().amax(1).min() > 0 for p in up)
    if fused:  # no rows for the queries of the fused projection
        assert {p.shape[0] for p in up} == {2 * WIDTH}


def test_training_under_autocast_is_close_to_float32(each_backbone: str) -> None:
    model, data = build(each_backbone, TWO_LEVELS).train(), batch()
    model.training_loss(data, 0.5)
    model.eval()
    plain = model.training_loss(data, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.training_loss(data, 1.0)
    assert mixed.total.dtype == torch.float32
    # A salience in low precision may pick another token of equal worth, hence the wide margin.
    assert torch.allclose(plain.total, mixed.total, rtol=0.1)
    assert_finite_gradients_under_autocast(model.train(), data, progress=1.0)


def test_codebooks_are_placed_once_when_the_unquantised_phase_ends() -> None:
    model, data = build(), batch()
    model.train()
    before = model.quantizer.codebooks.clone()
    assert "quantizer" not in model.training_loss(data, 0.34).parts
    assert torch.equal(model.quantizer.codebooks, before)
    assert "quantizer" in model.training_loss(data, 0.36).parts
    placed = model.quantizer.codebooks.clone()
    assert not torch.equal(placed, before)
    # EMA moves the codes a little from here on; k-means would have placed them anew.
    model.training_loss(data, 0.37)
    assert (model.quantizer.codebooks - placed).abs().max() < (placed - before).abs().max() / 2


def test_a_training_that_stops_before_quantising_still_ends_with_codebooks_of_its_data() -> None:
    model, data = build(), batch()
    model.train()
    model.training_loss(data, 0.1)
    assert not model.has_codebooks
    model.finish_training()
    assert model.has_codebooks
    model.eval()
    with torch.no_grad():
        error = model.quantize(model.encode_documents(data.document_ids, data.document_mask)).error
    assert error < 0.5  # random codebooks have an error of about 1


def test_evaluating_draws_no_random_number_and_changes_nothing() -> None:
    model, data = build(), batch()
    model.train()
    model.training_loss(data, 0.5)
    model.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    first = model.training_loss(data, 0.1)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(first.total, model.training_loss(data, 0.1).total)


def test_training_teaches_selection_to_find_the_document_that_was_asked_about() -> None:
    # Enough codes for every token: with fewer, some documents' names look the same.
    many = ONE_LEVEL | {"codebook_size": 59}
    model, data = build(quantizer=many), asking_for_tokens(batch(), 2)
    first, last, scores = fit(model, data, steps=60)
    assert torch.equal(scores.argmax(1), data.question_document)
    assert last < first - 0.1


def test_recent_documents_are_kept_apart_from_the_weights_and_restored_exactly() -> None:
    model, data = build(), batch()
    model.train()
    model.training_loss(data, 0.5)
    restored = build()
    state = model.memory_state_dict()
    assert not [name for name in state if "queue" in name]
    restored.load_memory_state_dict(state)
    assert len(restored.queue.filled.entries) == 0
    restored.load_training_state(model.training_state())
    for mine, its in zip(restored.queue.filled, model.queue.filled, strict=True):
        assert len(mine) == 4
        assert torch.equal(mine, its)
    assert torch.equal(restored.quantizer.codebooks, model.quantizer.codebooks)
    assert bool(restored.codebooks_placed)


def test_a_trunk_deeper_than_the_llm_is_refused() -> None:
    deep = config(amortization={"trunk_layers": 9})
    with pytest.raises(MbcError, match=r"trunk_layers is 9 .* 3 layers"):
        build_memory_model(deep, Backbone.from_config(BACKBONES["gpt2-tied"]))


def with_integer_blocks(name: str) -> Backbone:
    """A backbone whose blocks keep their matrices as integers, as bitsandbytes does."""
    torch.manual_seed(0)
    backbone = Backbone.from_config(BACKBONES[name])
    for block in getattr(backbone.transformer.base_model, backbone.family.layers):
        for module in block.modules():
            if isinstance(weight := getattr(module, "weight", None), torch.Tensor) and weight.dim() == 2:
                module.weight = torch.nn.Parameter(weight.to(torch.int8), requires_grad=False)
    return backbone


def test_a_quantised_llm_cannot_start_a_trunk(each_backbone: str) -> None:
    with pytest.raises(MbcError, match="first blocks, which are quantised here") as raised:
        build_memory_model(config(), with_integer_blocks(each_backbone))
    assert raised.value.hint == "train with an unquantised base, then answer with --quantize"


def test_a_quantised_llm_takes_a_trained_trunk_and_makes_the_same_codes(each_backbone: str) -> None:
    trained, data = build(each_backbone).eval(), batch()
    with torch.no_grad():
        for parameter in trained.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model = build_memory_model(config(), with_integer_blocks(each_backbone), weights_follow=True).eval()
    model.load_module_state(trained.module_state())
    with torch.no_grad():
        before = trained.encode_documents(data.document_ids, data.document_mask)
        after = model.encode_documents(data.document_ids, data.document_mask)
    assert torch.allclose(before, after, atol=1e-6)
    assert model.fingerprint() == trained.fingerprint()


def test_passages_are_found_by_their_vectors_until_codebooks_are_placed() -> None:
    model, data = build().eval(), batch()
    with torch.inference_mode():
        vectors = model.encode_documents(data.document_ids, data.document_mask)
        questions = TokenBatch(data.question_ids, data.question_mask)
        scores = model.score(model.encode_questions(data.question_ids, data.question_mask), vectors)
        found = model.read(questions, TensorBank(vectors), 2)
    expected = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(found.rows, expected.indices[:, :2])
    assert torch.equal(found.scores, expected.values[:, :2])
