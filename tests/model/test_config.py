"""A setting that would be ignored cannot be written: it is refused with its value and what is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mbc_cli.errors import UsageError
from mbc_cli.model.config import parse_memory_config
from mbc_cli.presets import load_preset

WHOLE_BANK: dict[str, Any] = {"method": "whole-bank", "base_model": "tiny"}
SELECT: dict[str, Any] = {"method": "select", "base_model": "tiny"}
SLOTS = SELECT | {"pooling": "slots"}


def at(place: str, value: Any) -> dict[str, Any]:
    """The tree that holds ``value`` at a dotted place."""
    for key in reversed(place.split(".")):
        value = {key: value}
    return value


def merged(tree: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = {key: tree[key] | more[key] for key in tree if isinstance(more.get(key), dict)}
    return tree | more | both


# A configuration, and a setting that means nothing in it.
NONSENSE: list[tuple[dict[str, Any], str, Any]] = [
    (WHOLE_BANK, "selection.top_k", 3),
    (WHOLE_BANK, "aggregation.top_k", 3),
    (WHOLE_BANK, "loss.selection", 0.25),
    (WHOLE_BANK, "quantizer.schedule.noise", 0.4),
    (WHOLE_BANK, "amortization.trunk_layers", 5),
    (WHOLE_BANK, "modulation.relevance.layers", 2),
    (WHOLE_BANK, "reading.kind", "soft-tokens"),
    (WHOLE_BANK, "pooling", "slots"),
    (WHOLE_BANK, "memory_queue.negatives", 7),
    (SELECT, "amortization.document_t5", "nonsense"),
    (SELECT, "amortization.attend_to_padding", True),
    (SELECT, "aggregation.blocks", 2),
    (SELECT, "modulation.latent_overflow", "truncate"),
    (SELECT, "reading.prefix_tokens", 9),
    (SELECT, "reading.blocks", 6),
    (SELECT, "reading.answer_head", 0.3),
    (SLOTS, "reading.relevance.layers", 2),
    (SELECT | {"reading": {"kind": "slot-attention"}}, "reading.relevance.layers", 2),
    (SELECT | {"quantizer": {"kind": "none"}}, "quantizer.update", "ema"),
    (SELECT | {"quantizer": {"kind": "none"}}, "quantizer.schedule.noise", 0.2),
    (SELECT | {"quantizer": {"kind": "vq"}}, "quantizer.num_quantizers", 2),
    (WHOLE_BANK | {"quantizer": {"kind": "none"}}, "quantizer.codebook_size", 64),
]
# A configuration, and a value that is not accepted in it.
WRONG_VALUES: list[tuple[dict[str, Any], str, Any, str]] = [
    (SELECT, "method", "whole", "select, whole-bank"),
    (WHOLE_BANK, "quantizer.kind", "rvq", "vq, none"),
    (SELECT, "quantizer.kind", "fast", "vq, rvq, none"),
    (SELECT, "reading.kind", "prefix", "soft-tokens, slot-attention"),
    (SELECT, "pooling", "words", "tokens, slots"),
    (SELECT, "quantizer.codebook", "per-slot", "'shared'"),
    (SELECT | {"quantizer": {"kind": "rvq"}}, "quantizer.num_quantizers", 1, "greater than or equal to 2"),
    (SELECT, "reading.relevance.layers", 0, "greater than or equal to 1"),
    (WHOLE_BANK, "prompt", "Answer me:", "'{question}'"),
    (WHOLE_BANK, "modulation.latent_overflow", "drop", "'average' or 'truncate'"),
]


def refused_directly(tree: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as raised:
        parse_memory_config(tree)
    return str(raised.value)


def refused_by_set(tmp_path: Path, tree: dict[str, Any], place: str, value: Any) -> UsageError:
    """Of the preset that ``tree`` is, with the setting given to --set."""
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({"model": tree}))
    with pytest.raises(UsageError) as raised:
        load_preset(str(preset), [f"model.{place}={yaml.safe_dump(value, default_flow_style=True)}"])
    assert "\n" not in raised.value.message
    return raised.value


def refused_in_a_file(tmp_path: Path, tree: dict[str, Any]) -> UsageError:
    preset = tmp_path / "preset.yaml"
    preset.write_text(yaml.safe_dump({"model": tree}))
    with pytest.raises(UsageError) as raised:
        load_preset(str(preset))
    assert "\n" not in raised.value.message
    return raised.value


@pytest.mark.parametrize(("tree", "place", "value"), NONSENSE, ids=str)
def test_a_setting_of_another_method_or_kind_is_refused(
    tmp_path: Path, tree: dict[str, Any], place: str, value: Any
) -> None:
    wrong = merged(tree, at(place, value))
    by_set = refused_by_set(tmp_path, tree, place, value)
    refused = [refused_directly(wrong), refused_in_a_file(tmp_path, wrong).message]
    if by_set.hint is None:
        refused.append(by_set.message)
    else:  # no method has this key
        assert str(value) in by_set.message
        assert by_set.hint.startswith("did you mean 'model.")
    for message in refused:
        assert repr(value) in message
        accepted = message.partition("accepted: ")[2].partition(";")[0].split(", ")
        nearest = message.partition("did you mean '")[2].partition("'")[0]
        assert nearest in accepted
        assert place.rpartition(".")[2] not in accepted


@pytest.mark.parametrize(("tree", "place", "value", "accepted"), WRONG_VALUES, ids=str)
def test_a_value_that_is_not_accepted_is_refused_with_its_place(
    tmp_path: Path, tree: dict[str, Any], place: str, value: Any, accepted: str
) -> None:
    wrong = merged(tree, at(place, value))
    assert accepted in refused_directly(wrong)
    for error in (refused_in_a_file(tmp_path, wrong), refused_by_set(tmp_path, tree, place, value)):
        assert f"model.{place}: " in error.message
        assert repr(value) in error.message
        assert accepted in error.message


@pytest.mark.parametrize(
    ("tree", "place", "nearest"),
    [
        (WHOLE_BANK, "amortization.document_t6", "document_t5"),
        (SELECT, "amortization.document_tokns", "document_tokens"),
        (SELECT, "selection.topk", "top_k"),
        (SELECT, "quantizer.codebook_width", "codebook_dim"),
        (SELECT, "context_vector", "context_vectors"),
    ],
)
def test_an_unknown_setting_names_the_one_that_is_meant(
    tree: dict[str, Any], place: str, nearest: str
) -> None:
    assert f"did you mean {nearest!r}?" in refused_directly(merged(tree, at(place, 1)))


def test_a_setting_of_another_kind_names_the_kinds_that_have_it() -> None:
    message = refused_directly(SELECT | {"quantizer": {"kind": "none", "update": "ema"}})
    assert "'update' is for kind 'vq' or 'rvq'" in message
    assert "'selection' is for method 'select'" in refused_directly(WHOLE_BANK | {"selection": {"top_k": 2}})


def test_a_weight_of_relevance_needs_its_layers() -> None:
    assert "layers" in refused_directly(SELECT | {"reading": {"relevance": {"weight": 2.0}}})
    assert (
        parse_memory_config(SELECT | {"reading": {"relevance": {"layers": 3}}}).reading.relevance.layers == 3
    )


def test_a_new_configuration_selects_tokens_and_lets_the_llm_read_them() -> None:
    config = parse_memory_config({"base_model": "tiny"})
    assert (config.method, config.pooling, config.reading.kind) == ("select", "tokens", "soft-tokens")


@pytest.mark.parametrize("tree", [WHOLE_BANK, SELECT, SLOTS], ids=str)
def test_a_configuration_is_read_back_from_what_it_is_written_as(tree: dict[str, Any]) -> None:
    config = parse_memory_config(tree)
    assert parse_memory_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


def test_a_section_can_be_set_as_a_whole_to_be_of_another_kind() -> None:
    assert load_preset("news-small", ["model.quantizer={kind: none}"]).model.quantizer.kind == "none"
    relevant = load_preset("news-small", ["model.reading.relevance.layers=4"]).model
    assert relevant.reading.relevance.layers == 4


@pytest.mark.parametrize("quantizer", [3, "vq", None, ["vq"]])
def test_a_section_that_is_none_is_refused(quantizer: object) -> None:
    assert "accepted: mapping" in refused_directly(SELECT | {"quantizer": quantizer})


def test_a_preset_that_extends_another_holds_what_differs(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("extends: distilgpt2\nmodel: {context_vectors: 7, quantizer: {codebook_size: 64}}\n")
    mine, base = load_preset(str(preset)), load_preset("distilgpt2")
    assert (mine.model.context_vectors, mine.model.quantizer.codebook_size) == (7, 64)
    assert (mine.model.kv_lora, mine.training) == (base.model.kv_lora, base.training)
    preset.write_text("extends: distilgpt3\n")
    with pytest.raises(UsageError, match="distilgpt3") as raised:
        load_preset(str(preset))
    assert raised.value.hint == "did you mean 'distilgpt2'?"
