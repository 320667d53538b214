"""YAML settings: single keys of a configuration, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from mbc_cli.errors import UsageError
from mbc_cli.model.config import MemoryConfig, parse_memory_config
from mbc_cli.presets import load_preset, preset_names
from mbc_cli.yaml_settings import leaf_types, override, read_yaml, validation_message


def test_set_changes_one_key_and_leaves_the_rest() -> None:
    plain, changed = (
        load_preset("distilgpt2", assignments)
        for assignments in (
            [],
            ["training.epochs=3", "model.quantizer.codebook_size=64", "training.learning_rate=1e-4"],
        )
    )
    assert (changed.training.epochs, changed.model.quantizer.codebook_size) == (3, 64)
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
        ("model.quantiser.codebook_size=3", "model.quantizer.codebook_size"),
        ("model.selection.topk=3", "model.selection.top_k"),
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
    assert override(tree, ["a.b=2"], {"a.b": {int}}) == {"a": {"b": 2}}
    assert tree == {"a": {"b": 1}}


def test_dotted_keys_name_every_leaf() -> None:
    keys = leaf_types(MemoryConfig)
    assert {"base_model", "quantizer.codebook_size", "kv_lora.rank"} <= set(keys)
    assert {"quantizer.num_quantizers", "reading.relevance.layers", "modulation.hidden"} <= set(keys)
    assert "quantizer" not in keys


def test_a_validation_error_is_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        parse_memory_config({"base_model": 3, "context_vectors": 0})
    message = validation_message(caught.value)
    assert "\n" not in message
    assert "base_model" in message
    assert "context_vectors" in message


@pytest.mark.parametrize("revision", ["12e4567", "1e5", "0123", "1_000", "true", "2026-05-01", "0x1f", "~a"])
def test_a_text_stays_as_it_is_written_whatever_it_looks_like(revision: str) -> None:
    assert load_preset("distilgpt2", [f"model.base_revision={revision}"]).model.base_revision == revision


@pytest.mark.parametrize(
    ("assignment", "value"),
    [("null", None), ("", None), ("'null'", "null"), (" main ", "main"), ('"1e5"', "1e5")],
)
def test_a_text_may_be_quoted_and_where_none_is_accepted_left_out(assignment: str, value: str | None) -> None:
    assert load_preset("distilgpt2", [f"model.base_revision={assignment}"]).model.base_revision == value


@pytest.mark.parametrize(("written", "value"), [("1e-3", 0.001), ("2e-5", 0.00002), (".5", 0.5), ("1", 1.0)])
def test_a_number_may_be_written_as_people_write_it(written: str, value: float) -> None:
    assert load_preset("distilgpt2", [f"training.learning_rate={written}"]).training.learning_rate == value


class _Circle(BaseModel):
    shape: Literal["circle"]
    radius: float
    label: int = 0


class _Square(BaseModel):
    shape: Literal["square"]
    side: float
    label: str = ""


class _Drawing(BaseModel):
    outline: Annotated[_Circle | _Square, Field(discriminator="shape")]
    inner: _Circle | _Square | None = None


def test_the_keys_of_a_union_are_those_of_all_its_classes() -> None:
    inside = {"shape", "radius", "side", "label"}
    assert set(leaf_types(_Drawing)) == {f"{name}.{key}" for name in ("outline", "inner") for key in inside}
    assert set(leaf_types(_Circle | _Square)) == inside


def test_what_one_class_of_a_union_takes_as_text_stays_text() -> None:
    tree = override({}, ["outline.side=1e1", "outline.label=1e1"], leaf_types(_Drawing))
    assert tree == {"outline": {"side": 10.0, "label": "1e1"}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [1", "YAML"),
        ("- a", "list"),
        ("[" * 5000, "deep"),
        ("a: &x [1]\nb: [*x, *x]", "alias"),
        ("a: 2026-99-99", "YAML"),
        ("a: " + "9" * 5000, "digits"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=reason) as caught:
        read_yaml(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
