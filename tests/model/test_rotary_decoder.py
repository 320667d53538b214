"""The decoder that runs without `transformers` computes what its classes do, and LoRA what PEFT's does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mbc_cli.errors import MbcError
from mbc_cli.model.config import KvLoraConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora, load_lora_state, lora_state
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.llm.rotary_decoder import RotaryDecoder
from tests.support.tiny_models import language_model_config, save_language_model

KINDS: dict[str, dict[str, Any]] = {
    "llama": {"family": "llama"},
    "llama, tied, with biases": {
        "family": "llama",
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama, one key-value head each": {"family": "llama", "num_key_value_heads": 4, "bos_token_id": None},
    "mistral": {"family": "mistral", "sliding_window": None},
    "qwen2": {"family": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"family": "qwen3", "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
}


def save(directory: Path, kind: str, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(language_model_config(**KINDS[kind]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    model.to(dtype).save_pretrained(directory)
    return directory


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Backbone, Backbone]:
    """The LLM as `transformers` loads it, and as we do."""
    place = str(save(tmp_path, request.node.callspec.params["kind"], request.param))
    theirs, ours = Backbone.from_pretrained(place), Backbone.from_pretrained(place, to_train=False)
    assert isinstance(ours.transformer, RotaryDecoder)
    assert not isinstance(theirs.transformer, RotaryDecoder)
    assert ours.dtype == theirs.dtype == request.param
    return theirs, ours


def texts(*, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 300, (3, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :2], mask[2, :4] = 0, 0
    return ids, mask if left else mask.flip(1)


def prefix_of(backbone: Backbone, *, weighed: bool) -> Prefix:
    embeddings = torch.randn(3, 5, backbone.shape.hidden_size, generator=torch.Generator().manual_seed(2))
    weights = torch.linspace(-2, 0, 15).reshape(3, 5) if weighed else None
    return backbone.read_embeddings(embeddings, weights, torch.tensor([5, 3, 4]))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_prefixes_losses_and_answers_are_equal(both: tuple[Backbone, Backbone], kind: str) -> None:
    theirs, ours = both
    with torch.no_grad():
        for left in (True, False):
            ids, mask = texts(left=left)
            assert torch.equal(theirs(ids, mask)[mask > 0], ours(ids, mask)[mask > 0])
            for weighed in (True, False):
                prefix, own = prefix_of(theirs, weighed=weighed), prefix_of(ours, weighed=weighed)
                seen = torch.arange(5) < torch.tensor([[5], [3], [4]])
                for one, other in zip(prefix.states.unbind(0), own.states.unbind(0), strict=True):
                    assert torch.equal(one.movedim(3, 2)[:, seen], other.movedim(3, 2)[:, seen])
                assert torch.equal(theirs(ids, mask, prefix)[mask > 0], ours(ids, mask, own)[mask > 0])
                assert torch.equal(
                    theirs.next_token_losses(ids, mask, prefix), ours.next_token_losses(ids, mask, own)
                )
                if left:
                    answers = [
                        list(llm.greedy_tokens(ids, mask, its, max_new_tokens=4))
                        for llm, its in ((theirs, prefix), (ours, own), (theirs, None), (ours, None))
                    ]
                    for one, other in zip(answers[0] + answers[2], answers[1] + answers[3], strict=True):
                        assert torch.equal(one.ids, other.ids)
                        assert torch.equal(one.log_likelihood, other.log_likelihood)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_projections_have_the_same_names_and_values(
    both: tuple[Backbone, Backbone], kind: str
) -> None:
    theirs, ours = both
    assert ours.shape == theirs.shape
    mine, its = ours.transformer.state_dict(), theirs.transformer.state_dict()
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[name], its[name]) for name in its)
    for one, other in zip(ours.value_projections(), theirs.value_projections(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_computes_what_that_of_peft_does(both: tuple[Backbone, Backbone], kind: str) -> None:
    theirs, ours = both
    ids, mask = texts(left=True)
    plain = ours(ids, mask)
    for llm in both:
        attach_kv_lora(llm, KvLoraConfig(rank=3, alpha=7, last_layers=2))
    state = {name: torch.randn(value.shape) * 0.3 for name, value in lora_state(theirs).items()}
    for llm in both:
        load_lora_state(llm, state)
    assert lora_state(ours).keys() == lora_state(theirs).keys()
    with torch.no_grad():
        adapted = ours(ids, mask)
        assert torch.equal(adapted, theirs(ids, mask))
        assert not torch.equal(adapted, plain)
        with ours.without_lora():
            assert torch.equal(ours(ids, mask), plain)
        assert torch.equal(ours(ids, mask), adapted)
    with pytest.raises(ValueError, match="do not fit"):
        load_lora_state(ours, dict(list(state.items())[1:]))


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gpt2", {}),
        ("mistral", {}),  # which has a window of attention unless told otherwise
        ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"eos_token_id": [1, 2]}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
        ("llama", {"somebody_elses_setting": 1}),
    ],
)
def test_what_it_does_not_know_transformers_computes(
    tmp_path: Path, family: str, changes: dict[str, Any]
) -> None:
    save_language_model(tmp_path, family)
    AutoModelForCausalLM.from_config(language_model_config(family, **changes)).save_pretrained(tmp_path)
    loaded = Backbone.from_pretrained(str(tmp_path), to_train=False)
    assert not isinstance(loaded.transformer, RotaryDecoder)


def test_a_tensor_that_is_missing_is_told_as_ever(tmp_path: Path) -> None:
    save_language_model(tmp_path, "llama", layers=2)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 3}))
    with pytest.raises(MbcError, match=r"weights lack model\.layers\.2"):
        Backbone.from_pretrained(str(tmp_path), to_train=False)
