"""Another, empty memory of the adapter that another one has loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mbc_store import MemoryStore

from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import LoadedAdapter


def same_adapter(memory: AnyMemory, folder: Path, *, keep_text: bool = False) -> AnyMemory:
    """An empty memory of ``memory``'s adapter, with the same model; its store, if it has one, in ``folder``.

    Raises:
        StoreError: the store cannot be written.
    """
    if isinstance(memory, VectorMemory):
        return VectorMemory(memory.model, memory.tokenizers, adapter_name=memory.adapter_name)
    config = replace(memory.store.config, keep_text=keep_text)
    loaded = LoadedAdapter(memory.model, memory.tokenizers, config.fingerprint, {}, memory.calibration)
    return Memory(MemoryStore.create(folder / "bank.mbc", config), loaded, adapter_name=memory.adapter_name)
