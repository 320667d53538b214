"""Memories beside another: empty, with the same model, which is loaded once for all methods of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mbc_store import MemoryStore

from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import LoadedAdapter


def fresh_memory(memory: AnyMemory, folder: Path, *, keep_text: bool | None = None) -> AnyMemory:
    """An empty memory of ``memory``'s model as it is now; its store, if ``memory`` has one, is in ``folder``.

    Args:
        keep_text: whether the store keeps texts; None is as the store of ``memory`` does.

    Raises:
        StoreError: the store cannot be made.
    """
    if isinstance(memory, VectorMemory):
        return VectorMemory(memory.model, memory.tokenizers, adapter_name=memory.adapter_name)
    config = replace(memory.store.config, fingerprint=memory.model.fingerprint())
    if keep_text is not None:
        config = replace(config, keep_text=keep_text)
    loaded = LoadedAdapter(memory.model, memory.tokenizers, config.fingerprint, {}, memory.calibration)
    store = MemoryStore.create(folder / "bank.mbc", config)
    return Memory(store, loaded, adapter_name=memory.adapter_name)
