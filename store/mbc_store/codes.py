"""How often each code occurs, and what that says."""

from __future__ import annotations

import numpy as np

from mbc_store.format import StoreConfig


def count_codes(codes: np.ndarray, config: StoreConfig) -> np.ndarray:
    """(T, L, K) int64: occurrences of each code in ``codes`` (n, T, L)."""
    fields = config.slots * config.num_quantizers
    offsets = np.arange(fields, dtype=np.int64) * config.codebook_size
    flat = codes.reshape(len(codes), fields).astype(np.int64) + offsets
    counts = np.bincount(flat.ravel(), minlength=fields * config.codebook_size)
    return counts.reshape(config.code_shape)


def code_statistics(counts: np.ndarray) -> tuple[float, float]:
    """Entropy of one passage's codes in bits, and the share of codes in use.

    Args:
        counts: (T, L, K).

    Returns:
        The Shannon entropy of each (slot, level), summed; and the mean over (slot, level) of the share of
        codes that occur.
    """
    total = counts.sum(axis=-1, keepdims=True)
    if not total.any():
        return 0.0, 0.0
    share = counts / np.maximum(total, 1)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return float(-(share * logs).sum()), float((counts > 0).mean())
