"""How often each code occurs, and what that says."""

from __future__ import annotations

import numpy as np

from mbc_store.format import StoreConfig


def count_codes(codes: np.ndarray, config: StoreConfig) -> np.ndarray:
    """(T, L, K) int64: occurrences of each code in ``codes`` (n, T, L); (1, L, K) where slots share them."""
    groups, levels, size = config.counts_shape
    fields = groups * levels
    offsets = np.arange(fields, dtype=np.int64) * size
    flat = codes.reshape(-1, fields).astype(np.int64) + offsets
    return np.bincount(flat.ravel(), minlength=fields * size).reshape(config.counts_shape)


def passages_in(counts: np.ndarray, config: StoreConfig) -> int:
    """How many passages were counted."""
    return int(counts[:, 0].sum()) // config.slots


def code_statistics(counts: np.ndarray, config: StoreConfig) -> tuple[float, float]:
    """Entropy of one passage's codes in bits, and the share of codes in use.

    Args:
        counts: as `count_codes` returns them.

    Returns:
        The Shannon entropy of each (slot, level), summed; and the mean over (slot, level) of the share of
        codes that occur.
    """
    total = counts.sum(axis=-1, keepdims=True)
    if not total.any():
        return 0.0, 0.0
    share = counts / np.maximum(total, 1)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    entropy = (share * -logs).sum() * config.slots / len(counts) + 0.0
    return float(entropy), float((counts > 0).mean())
