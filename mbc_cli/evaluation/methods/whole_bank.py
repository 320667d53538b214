"""``whole-bank``: the published method, which reads the codes of all documents at once, on the same LLM."""

from __future__ import annotations

import torch
from pydantic import Field

from mbc_cli.errors import UsageError
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.memory import MemoryMethod
from mbc_cli.evaluation.options import read_options
from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.inference.adapters import resolve_adapter
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import read_description
from mbc_cli.model.frozen_config import FrozenConfig


class WholeBankOptions(FrozenConfig):
    """Which adapter it is."""

    adapter: str | None = Field(
        None, description="An adapter with method whole-bank, of the same LLM. Must be given."
    )


class WholeBankMethod(MemoryMethod):
    """A memory of another adapter, in a store of its own."""

    name = "whole-bank"

    @classmethod
    def make(cls, setting: Setting) -> WholeBankMethod:
        """A memory of the adapter in the setting's options.

        Raises:
            UsageError: none is given, it is of another method or LLM, or ``memory`` is whole-bank already.
            MbcError: it cannot be loaded.
        """
        options = read_options(WholeBankOptions, cls.name, setting.options)
        if not setting.memory.selects:
            raise UsageError(
                "method whole-bank: the memory that is evaluated reads the whole bank itself",
                "leave whole-bank out: memory is the same",
            )
        if options.adapter is None:
            raise UsageError(
                "method whole-bank: no adapter is given",
                "name one with method whole-bank of the same LLM with the option adapter (mbc adapt trains "
                "one), or leave the method out",
            )
        directory = resolve_adapter(options.adapter).directory
        method = read_description(directory)["model"].method
        if method != "whole-bank":
            raise UsageError(
                f"method whole-bank: the adapter {options.adapter} has method {method!r}",
                "name one with method whole-bank",
            )
        memory = _empty(options.adapter, setting)
        if not _same_llm(memory, setting.memory):
            other, own = (each.model.config.base_model for each in (memory, setting.memory))
            raise UsageError(
                f"method whole-bank: the adapter {options.adapter} is for another LLM, {other}, than {own}",
                "name one that was trained for the same LLM as the memory's adapter",
            )
        return cls(memory, setting.memory)


def _empty(adapter: str, setting: Setting) -> AnyMemory:
    device = str(setting.memory.model.device)
    if VectorMemory.is_needed(adapter):
        return VectorMemory.load(adapter, device=device)
    return Memory.create(setting.folder / "whole-bank.mbc", adapter, keep_text=False, device=device)


def _same_llm(first: AnyMemory, second: AnyMemory) -> bool:
    """Whether both LLMs have the same form and read the same words alike, wherever they were loaded from."""
    one, other = first.model.backbone, second.model.backbone
    if one.shape != other.shape:
        return False
    tables = [each.transformer.get_input_embeddings().weight for each in (one, other)]
    return torch.equal(*(table.float() for table in tables))
