"""Models without storage: to compare their shapes with a file's, or to put its tensors in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWING = {Tensor.normal_, Tensor.uniform_}
_SCALING = {Tensor.__mul__, Tensor.__truediv__, Tensor.mul, Tensor.div}


class _NothingDrawn(TorchFunctionMode):
    """Leaves out what computes the first values of weights.

    They are not kept anyway, and on the meta device such operations import torch._dynamo: most of a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWING or getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in _SCALING and args[0].is_meta and not isinstance(args[1], Tensor):
            return args[0]
        if func is torch.randn:
            func = torch.empty
        if func is torch.eye:
            if "out" in kwargs:
                return kwargs["out"]
            func, args = torch.empty, (args[0], args[-1])
        return func(*args, **kwargs)


@contextmanager
def without_storage() -> Iterator[None]:
    """A context in which modules are built on the meta device, quickly."""
    with torch.device("meta"), _NothingDrawn():
        yield
