"""The frozen LLM: how prefixes enter, and that generation and KV-LoRA do what they should, per family."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM, PreTrainedModel

from mbc_cli.errors import MbcError
from mbc_cli.model.config import KvLoraConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora, lora_parameters, save_kv_lora
from mbc_cli.model.llm.prefix import Prefix
from tests.support.tiny_models import FAMILIES, VOCABULARY, language_model_config, save_language_model

LORA = KvLoraConfig(rank=3, alpha=6, last_layers=2)
BATCH, TOKENS, PREFIX = 4, 7, 3


def tiny_backbone(family: str, *, tied: bool | None = None) -> Backbone:
    config = language_model_config(family)
    if tied is not None:
        config.tie_word_embeddings = tied
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return Backbone(model)


def random_prefix(backbone: Backbone, seed: int = 1) -> Prefix:
    shape = backbone.shape
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(shape.layers, 2, BATCH, shape.kv_heads, PREFIX, shape.head_dim, generator=generator)
    return Prefix(states)


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of different lengths, padded on the left."""
    ids = torch.randint(1, VOCABULARY, (BATCH, TOKENS), generator=torch.Generator().manual_seed(5))
    mask = torch.ones_like(ids)
    for row in range(BATCH):
        mask[row, :row] = 0
    return ids * mask, mask


def learned_lora(backbone: Backbone) -> None:
    """Adapters that have an effect, as if trained."""
    attach_kv_lora(backbone, LORA)
    generator = torch.Generator().manual_seed(8)
    for parameter in lora_parameters(backbone).values():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_prefix_changes_what_the_llm_predicts_and_differs_by_row(family: str) -> None:
    backbone = tiny_backbone(family)
    ids, mask = prompts()
    same = ids[-1:].expand(BATCH, -1), mask[-1:].expand(BATCH, -1)
    with torch.no_grad():
        plain = backbone(*same)[:, -1]
        logits = backbone(*same, random_prefix(backbone))[:, -1]
    assert torch.allclose(plain[0], plain[1], atol=1e-5)
    assert (logits - plain).abs().amax(-1).min() > 1e-2
    assert (logits[0] - logits[1]).abs().max() > 1e-2


def test_a_prefix_acts_exactly_as_the_tokens_it_was_computed_from(family: str) -> None:
    backbone = tiny_backbone(family)
    ids, _ = prompts()
    context = ids[-1:, -PREFIX:]
    tokens = ids[:1]
    with torch.no_grad():
        cache = backbone.transformer(input_ids=context, use_cache=True).past_key_values
        states = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])
        read = backbone(tokens, torch.ones_like(tokens), Prefix(states))
        together = torch.cat([context, tokens], dim=1)
        whole = backbone(together, torch.ones_like(together))
    assert torch.allclose(read, whole[:, PREFIX:], atol=1e-4)


def test_padding_on_either_side_does_not_change_a_rows_logits(family: str) -> None:
    backbone = tiny_backbone(family)
    ids, mask = prompts()
    prefix = random_prefix(backbone)
    with torch.no_grad():
        left = backbone(ids, mask, prefix)
        for row in range(BATCH):
            alone = ids[row : row + 1, row:]
            right = torch.cat([alone, alone.new_zeros(1, row)], dim=1)
            right_mask = torch.cat([torch.ones_like(alone), alone.new_zeros(1, row)], dim=1)
            rows = slice(row, row + 1)
            single = backbone(alone, torch.ones_like(alone), prefix[rows])
            assert torch.allclose(left[rows, row:], single, atol=1e-4)
            length = alone.shape[1]
            assert torch.allclose(backbone(right, right_mask, prefix[rows])[:, :length], single, atol=1e-4)


def test_a_prefix_token_of_weight_two_acts_as_two_and_one_of_no_weight_as_none(family: str) -> None:
    backbone = tiny_backbone(family)
    ids, mask = prompts()
    states = random_prefix(backbone).states
    twice = states.clone()
    twice[..., 1, :] = states[..., 0, :]
    weights = torch.tensor([2.0, 0.0, 1.0]).log().clamp_min(-1e4).expand(BATCH, -1)
    with torch.no_grad():
        copied = backbone(ids, mask, Prefix(twice))[:, -1]
        weighted = backbone(ids, mask, Prefix(states, weights))[:, -1]
        assert torch.allclose(copied, weighted, atol=1e-3)
        assert (backbone(ids, mask, Prefix(states))[:, -1] - weighted).abs().max() > 1e-2


@pytest.mark.parametrize("weighted", [True, False])
def test_weights_act_the_same_in_every_implementation_of_attention(family: str, weighted: bool) -> None:
    backbone = tiny_backbone(family)
    ids, mask = prompts()
    weights = torch.randn(BATCH, PREFIX, generator=torch.Generator().manual_seed(2)) if weighted else None
    prefix = Prefix(random_prefix(backbone).states, weights)
    embeddings = torch.randn(BATCH, PREFIX, backbone.shape.hidden_size)
    results = []
    for implementation in ("sdpa", "eager"):
        backbone.transformer.set_attn_implementation(implementation)
        with torch.no_grad():
            read = backbone.read_embeddings(embeddings, weights)
            results.append((backbone(ids, mask, prefix)[:, -1], read.states))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-3)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-3)


def test_weights_that_are_all_one_change_nothing(family: str) -> None:
    backbone = tiny_backbone(family)
    ids, mask = prompts()
    prefix = random_prefix(backbone)
    with torch.no_grad():
        plain = backbone(ids, mask, prefix)[mask > 0]
        ones = backbone(ids, mask, Prefix(prefix.states, torch.zeros(BATCH, PREFIX)))[mask > 0]
    assert torch.allclose(plain, ones, atol=1e-4)


def greedy_without_cache(backbone: Backbone, prefix: Prefix | None, new: int) -> torch.Tensor:
    """The slow way: read everything again for each token."""
    ids, mask = prompts()
    for _ in range(new):
        following = backbone(ids, mask, prefix)[:, -1].argmax(-1, keepdim=True)
        ids, mask = torch.cat([ids, following], 1), torch.cat([mask, torch.ones_like(following)], 1)
    return ids[:, TOKENS:]


@pytest.mark.parametrize("with_prefix", [True, False])
def test_batched_generation_with_a_cache_equals_reading_everything_again(
    family: str, with_prefix: bool
) -> None:
    backbone = tiny_backbone(family)
    learned_lora(backbone)
    prefix = random_prefix(backbone) if with_prefix else None
    with torch.no_grad():
        steps = backbone.greedy_tokens(*prompts(), prefix, max_new_tokens=6)
        assert torch.equal(
            torch.stack([step.ids for step in steps], 1), greedy_without_cache(backbone, prefix, 6)
        )


def test_a_sliding_window_reads_the_prefix_alike_with_and_without_a_cache() -> None:
    config = language_model_config("mistral")
    config.sliding_window = 6
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    backbone = Backbone(model)
    prefix = random_prefix(backbone)
    with torch.no_grad():
        steps = backbone.greedy_tokens(*prompts(), prefix, max_new_tokens=6)
        assert torch.equal(
            torch.stack([step.ids for step in steps], 1), greedy_without_cache(backbone, prefix, 6)
        )


def test_generation_equals_that_of_transformers(family: str) -> None:
    backbone = tiny_backbone(family)
    prefix = random_prefix(backbone)
    ids, mask = prompts()
    ours = torch.stack([step.ids for step in backbone.greedy_tokens(ids, mask, prefix, max_new_tokens=6)], 1)
    filler = ids.new_ones(BATCH, PREFIX)
    theirs = backbone.transformer.generate(
        input_ids=torch.cat([filler, ids], 1),
        attention_mask=torch.cat([filler, mask], 1),
        past_key_values=prefix.to_cache(),
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=VOCABULARY + 1,
        pad_token_id=0,
    )
    assert torch.equal(ours, theirs[:, PREFIX + TOKENS :])


def test_generation_stops_when_every_row_has_stopped_and_repeats_the_stop_token() -> None:
    backbone = tiny_backbone("llama")
    prefix = random_prefix(backbone)
    free = torch.stack([step.ids for step in backbone.greedy_tokens(*prompts(), prefix, max_new_tokens=8)], 1)
    stops = tuple(free[:, 2].tolist())
    steps = list(backbone.greedy_tokens(*prompts(), prefix, max_new_tokens=8, stop_tokens=stops))
    stopped = torch.stack([step.ids for step in steps], 1)
    chances = torch.stack([step.log_likelihood for step in steps], 1)
    assert stopped.shape[1] <= 3
    for row in range(BATCH):
        end = next(place for place, token in enumerate(free[row].tolist()) if token in stops)
        kept = min(end + 1, stopped.shape[1])
        assert torch.equal(stopped[row, :kept], free[row, :kept])
        assert (stopped[row, kept:] == free[row, end]).all()
        assert (chances[row, :kept] < 0).all()
        assert (chances[row, kept:] == 0).all()


def test_prompts_padded_on_the_right_are_refused() -> None:
    backbone = tiny_backbone("gpt2")
    ids, mask = prompts()
    with pytest.raises(ValueError, match="padded on the left"):
        list(backbone.greedy_tokens(ids.flip(1), mask.flip(1), None, max_new_tokens=1))


def test_the_frozen_llm_never_trains_nor_drops_out(family: str) -> None:
    backbone = tiny_backbone(family).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_training_kv_lora_leaves_the_llms_own_weights_equal_to_the_bit(family: str) -> None:
    backbone = tiny_backbone(family)
    before = {name: _digest(value) for name, value in backbone.transformer.state_dict().items()}
    attach_kv_lora(backbone, LORA)
    adapters = lora_parameters(backbone)
    assert {name for name, p in backbone.named_parameters() if p.requires_grad} == adapters.keys()
    optimizer = torch.optim.AdamW([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    start = {name: value.clone() for name, value in adapters.items()}
    for _ in range(2):
        optimizer.zero_grad()
        backbone(*prompts(), random_prefix(backbone)).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(value, start[name]) for name, value in adapters.items())
    after = {
        name.replace(".base_layer", ""): _digest(value)
        for name, value in backbone.transformer.state_dict().items()
        if ".lora_" not in name
    }
    assert after == before


def test_kv_lora_changes_keys_and_values_of_the_last_layers_and_nothing_else(family: str) -> None:
    backbone = tiny_backbone(family)
    ids = prompts()[0][-1:]
    with torch.no_grad():
        before = _projections(backbone, ids)
        learned_lora(backbone)
        after = _projections(backbone, ids)
    first_adapted = backbone.shape.layers - LORA.last_layers
    for (layer, part), value in before.items():
        adapted = after[layer, part]
        if layer >= first_adapted and part in "kv":
            assert (adapted - value).abs().max() > 1e-2, (layer, part)
        elif layer <= first_adapted:  # above it, other keys and values have changed the hidden states
            assert torch.equal(adapted, value), (layer, part)
    names = [name for name, module in backbone.named_modules() if hasattr(module, "lora_A")]
    assert len(names) == LORA.last_layers * len(backbone.family.projections)


def test_the_adapters_are_off_in_without_lora(family: str) -> None:
    backbone = tiny_backbone(family)
    with torch.no_grad():
        plain = backbone(*prompts())
        learned_lora(backbone)
        adapted = backbone(*prompts())
        with backbone.without_lora():
            off = backbone(*prompts())
    assert torch.equal(off, plain)
    assert (adapted - plain).abs().max() > 1e-2


# PEFT, used without us, asks transformers by a name that is deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_plain_peft_loads_the_saved_adapters_and_computes_the_same(family: str, tmp_path: Path) -> None:
    backbone = tiny_backbone(family)
    backbone.transformer.save_pretrained(tmp_path / "base")
    learned_lora(backbone)
    save_kv_lora(backbone, tmp_path / "kv_lora", str(tmp_path / "base"))
    base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain_peft = PeftModel.from_pretrained(base, str(tmp_path / "kv_lora")).eval()
    ids = prompts()[0][-1:]
    with torch.no_grad():
        ours, theirs = backbone(ids, torch.ones_like(ids)), plain_peft(input_ids=ids).logits
        unadapted = plain_peft.get_base_model()
        with plain_peft.disable_adapter():
            plain = unadapted(input_ids=ids).logits
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert (ours - plain).abs().max() > 1e-2


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_may_be_tied_or_not(family: str, tied: bool) -> None:
    backbone = tiny_backbone(family, tied=tied)
    learned_lora(backbone)
    transformer = backbone.transformer
    shared = transformer.get_input_embeddings().weight is transformer.get_output_embeddings().weight
    assert shared == tied
    with torch.no_grad():
        prefix = random_prefix(backbone)
        steps = backbone.greedy_tokens(*prompts(), prefix, max_new_tokens=4)
        assert torch.equal(
            torch.stack([step.ids for step in steps], 1), greedy_without_cache(backbone, prefix, 4)
        )


def test_a_backbone_is_read_from_disk_with_its_shape(family: str, tmp_path: Path) -> None:
    save_language_model(tmp_path, family)
    backbone = Backbone.from_pretrained(str(tmp_path))
    shape, config = backbone.shape, language_model_config(family)
    assert (shape.hidden_size, shape.layers, shape.vocabulary) == (48, 3, VOCABULARY)
    assert shape.kv_heads == (4 if family == "gpt2" else config.num_key_value_heads)
    assert shape.kv_width == shape.kv_heads * (20 if family == "qwen3" else 12)


def test_an_unsupported_architecture_is_one_line_that_names_the_supported(tmp_path: Path) -> None:
    config = BloomConfig(vocab_size=50, hidden_size=24, n_layer=1, n_head=2)
    BloomForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(MbcError) as raised:
        Backbone.from_pretrained(str(tmp_path))
    text = str(raised.value)
    assert "bloom" in text
    assert "\n" not in text
    assert all(name in text for name in FAMILIES)


def test_a_missing_base_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MbcError, match="nowhere") as raised:
        Backbone.from_pretrained(str(tmp_path / "nowhere"))
    assert "\n" not in str(raised.value)


def test_more_adapted_layers_than_the_llm_has_is_one_clear_line() -> None:
    with pytest.raises(MbcError, match="4 but the base model has 3 layers"):
        attach_kv_lora(tiny_backbone("qwen2"), KvLoraConfig(last_layers=4))


def _projections(backbone: Backbone, ids: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
    """What each layer computes as queries, keys and values, by layer number and 'q', 'k' or 'v'."""
    found: dict[tuple[int, str], torch.Tensor] = {}
    handles = []
    for name, module in backbone.transformer.named_modules():
        last = name.rpartition(".")[2]
        if last in ("q_proj", "k_proj", "v_proj", "c_attn"):
            layer = next(int(part) for part in name.split(".") if part.isdigit())

            def keep(
                _: object, __: object, output: torch.Tensor, layer: int = layer, last: str = last
            ) -> None:
                if last != "c_attn":
                    found[layer, last[0]] = output
                else:
                    found.update(
                        {(layer, part): x for part, x in zip("qkv", output.chunk(3, -1), strict=True)}
                    )

            handles.append(module.register_forward_hook(keep))
    backbone(ids, torch.ones_like(ids))
    for handle in handles:
        handle.remove()
    return found


def _digest(value: torch.Tensor) -> str:
    return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
