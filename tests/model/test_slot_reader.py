"""The aggregated reading: how a latent enters the LLM, and how it is taught what an answer needs."""

from __future__ import annotations

import pytest
import torch

from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.select.layer_maps import LayerMaps
from mbc_cli.model.select.losses import AnswerHead
from tests.support.tiny_select_models import BACKBONES, PREFIX_TOKENS, WIDTH, batch, build_kind


def test_a_prefix_value_adds_to_the_states_what_the_value_projection_says(each_backbone: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone.from_config(BACKBONES[each_backbone])
    shape = backbone.shape
    values = torch.randn(shape.layers, 2, 1, shape.kv_heads, 1, shape.head_dim)
    added: list[torch.Tensor] = []
    layers = getattr(backbone.transformer.base_model, backbone.family.layers)
    for layer in layers:
        output = layer.get_submodule(backbone.family.output)
        output.register_forward_hook(lambda module, _, result: added.append(result - _bias(module)))
    with torch.no_grad():
        cache = Prefix(values).to_cache()
        # The token itself is masked: it attends to the prefix alone.
        backbone.transformer(
            input_ids=torch.tensor([[7]]),
            attention_mask=torch.tensor([[1, 0]]),
            past_key_values=cache,
            use_cache=True,
        )
    for state, value, projection in zip(added, values[:, 1], backbone.value_projections(), strict=True):
        assert projection.shape == (WIDTH, shape.kv_width)
        assert torch.allclose(state[0, 0], projection @ value.flatten(), atol=1e-5)


def _bias(module: torch.nn.Module) -> torch.Tensor:
    bias = getattr(module, "bias", None)
    return torch.zeros(WIDTH) if bias is None else bias


def test_value_maps_start_as_inverses_of_their_layers(each_backbone: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone.from_config(BACKBONES[each_backbone])
    maps, shape = LayerMaps(backbone), backbone.shape
    last = list(backbone.value_projections())[-1]
    # Something the layer can add, from directions that count.
    left, sizes, _ = torch.linalg.svd(last, full_matrices=False)
    wanted = left[:, sizes > 0.1 * sizes[0]] @ torch.randn(int((sizes > 0.1 * sizes[0]).sum()))
    slots = wanted.expand(1, PREFIX_TOKENS * shape.layers * 2, WIDTH)
    with torch.no_grad():
        prefix = maps(slots).reshape(PREFIX_TOKENS, shape.layers, 2, shape.kv_width)
    assert torch.allclose(last @ prefix[3, -1, 1], wanted, atol=1e-3)
    assert not torch.allclose(last @ prefix[3, -1, 0], wanted, atol=1e-1)


def test_the_answer_head_is_content_with_a_latent_that_holds_the_answers_embeddings() -> None:
    model, data = build_kind("slots, slot-attention, per-slot"), batch()
    embeddings = model.amortizer.embeddings
    head = AnswerHead(model.backbone, embeddings)
    labels = data.answer_labels
    with torch.no_grad():
        answers = embeddings(labels[:, 5:])
        named, other = head(answers, labels), head(answers.roll(1, 0), labels)
        assert named < 2.0 < other
        # Whichever vector of the latent holds which token.
        assert torch.allclose(named, head(answers.flip(1), labels))
        # The token that ends an answer does not count.
        ended = labels.masked_fill(labels == labels[0, -1], 2)
        head._end = 2
        assert torch.allclose(head(answers[:1, :2], ended[:1]), head(answers[:1, :2], labels[:1, :7]))


def test_the_answer_heads_weight_falls_in_the_course_of_training() -> None:
    model = build_kind(
        "tokens, slot-attention, shared",
        quantizer={"kind": "none"},
        answer_head=0.5,
        loss={"salience": 0, "selection": 0},
        memory_queue={"negatives": 0},
    ).eval()
    with torch.no_grad():
        for progress, share in ((0.0, 1.0), (1.0, 0.3)):
            result = model.training_loss(batch(), progress)
            expected = result.parts["answer"] + 0.5 * share * result.parts["answer_head"]
            assert float(result.total) == pytest.approx(expected, rel=1e-5)
