"""Memories beside another: empty, with the same model, which is loaded once for all methods of a run."""

from __future__ import annotations

from pathlib import Path

from mbc_store import MemoryStore

from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import LoadedAdapter


def fresh_memory(memory: AnyMemory, folder: Path) -> AnyMemory:
    """An empty memory of ``memory``'s model, in a store in ``folder`` where ``memory`` is in one.

    Raises:
        StoreError: the store cannot be made.
    """
    if isinstance(memory, VectorMemory):
        return VectorMemory(memory.model, memory.tokenizers, adapter_name=memory.adapter_name)
    config = memory.store.config
    loaded = LoadedAdapter(memory.model, memory.tokenizers, config.fingerprint, {}, memory.calibration)
    store = MemoryStore.create(folder / "bank.mbc", config)
    return Memory(store, loaded, adapter_name=memory.adapter_name)
