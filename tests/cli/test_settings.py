"""Settings: single keys of a configuration, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mbc_cli.cli.settings import dotted_keys, override, validation_message
from mbc_cli.errors import UsageError
from mbc_cli.model.config import MemoryConfig
from mbc_cli.presets import load_preset, preset_names


def test_set_changes_one_key_and_leaves_the_rest() -> None:
    plain, changed = (
        load_preset("distilgpt2", assignments)
        for assignments in (
            [],
            ["training.epochs=3", "model.quantizer.codes=64", "training.learning_rate=1e-4"],
        )
    )
    assert (changed.training.epochs, changed.model.quantizer.codes) == (3, 64)
    assert changed.training.learning_rate == 1e-4
    assert changed.model.amortization == plain.model.amortization


def test_every_preset_is_valid() -> None:
    for name in preset_names():
        assert load_preset(name).model.base_model


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("epochs=3", "training.epochs"),
        ("training.epoch=3", "training.epochs"),
        ("model.quantiser.codes=3", "model.quantizer.codes"),
        ("model.aggregation.topk=3", "model.aggregation.top_k"),
    ],
)
def test_an_unknown_key_names_the_nearest(assignment: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_preset("distilgpt2", [assignment])
    assert caught.value.hint == f"did you mean {nearest!r}?"


@pytest.mark.parametrize(
    "assignment", ["training.epochs=0", "training.epochs=many", "model.quantizer.kind=fast"]
)
def test_a_wrong_value_names_the_key_and_the_value(assignment: str) -> None:
    key, _, value = assignment.partition("=")
    with pytest.raises(UsageError, match=key) as caught:
        load_preset("distilgpt2", [assignment])
    assert value in caught.value.message


@pytest.mark.parametrize("assignment", ["training.epochs", "=3", "training.epochs=[1"])
def test_a_malformed_assignment_is_a_usage_error(assignment: str) -> None:
    with pytest.raises(UsageError):
        load_preset("distilgpt2", [assignment])


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        load_preset("gpt2xl")
    assert caught.value.hint == "did you mean 'gpt2-xl'?"


def test_override_does_not_touch_the_tree_it_is_given() -> None:
    tree = {"a": {"b": 1}}
    assert override(tree, ["a.b=2"], ["a.b"]) == {"a": {"b": 2}}
    assert tree == {"a": {"b": 1}}


def test_dotted_keys_name_every_leaf() -> None:
    keys = dotted_keys(MemoryConfig)
    assert {"base_model", "quantizer.codes", "kv_lora.rank"} <= set(keys)
    assert "quantizer" not in keys


def test_a_validation_error_is_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        MemoryConfig.model_validate({"base_model": 3, "context_vectors": 0})
    message = validation_message(caught.value)
    assert "\n" not in message
    assert "base_model" in message
    assert "context_vectors" in message
