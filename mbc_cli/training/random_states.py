"""The random number generators of a process, saved and restored."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_states_now() -> dict[str, Any]:
    """The state of every random number generator of this process, in types that load without pickle."""
    version, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (version, torch.from_numpy(np.array(keys, dtype=np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_states(state: dict[str, Any]) -> None:
    """Undo everything drawn since ``random_states_now`` returned ``state``."""
    random.setstate(state["python"])
    version, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((version, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
