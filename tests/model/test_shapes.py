"""Signatures of the model's public functions say the shapes of tensors, and the tests hold them to it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

import mbc_cli.model
from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.whole_bank.aggregation import WeightedVectors
from mbc_cli.model.whole_bank.modulation import spread_slots
from tests.support.tiny_select_models import QUESTIONS, SLOTS, batch, build

# Of any shape.
SHAPELESS = {("distributed.py", name) for name in ("sum_over_ranks", "gather_over_ranks", "from_first_rank")}


def public_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    (folder,) = mbc_cli.model.__path__
    for path in sorted(Path(folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield path.name, node


def test_no_public_function_takes_or_gives_a_tensor_of_unnamed_shape() -> None:
    bare = set()
    for file, function in public_functions():
        arguments = [*function.args.args, *function.args.kwonlyargs]
        annotations = [argument.annotation for argument in arguments] + [function.returns]
        if any(isinstance(each, ast.Name) and each.id == "Tensor" for each in annotations):
            bare.add((file, function.name))
    assert bare == SHAPELESS


def test_a_tensor_of_another_shape_or_type_is_noticed_while_tests_run() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        spread_slots(torch.zeros(2, 3), 6)
    with pytest.raises(jaxtyping.TypeCheckError):
        WeightedVectors(torch.zeros(4, 3), torch.zeros(5))
    with pytest.raises(jaxtyping.TypeCheckError):
        TokenBatch(torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 6, dtype=torch.int64))
    model, data = build().eval(), batch()
    question = model.encode_questions(data.question_ids, data.question_mask)
    passages = torch.zeros(QUESTIONS, 2, SLOTS, 1, dtype=torch.int64)
    with pytest.raises(jaxtyping.TypeCheckError):
        model.prefix(question, passages, torch.zeros(QUESTIONS, 3))
