"""Long-term memory for large language models: documents become codes, a frozen LLM answers from them.

The names below are the Python API (docs/python-api.md). They are loaded when they are first used: importing
this package costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbc_cli.corpus.documents import Document, Question
    from mbc_cli.errors import MbcError
    from mbc_cli.inference.adapters import load_adapter
    from mbc_cli.inference.answer import Answer, Source
    from mbc_cli.memory import Memory
    from mbc_cli.training.adapt import adapt

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Document",
    "MbcError",
    "Memory",
    "Question",
    "Source",
    "__version__",
    "adapt",
    "load_adapter",
]

_HOMES = {
    "Answer": "inference.answer",
    "Document": "corpus.documents",
    "MbcError": "errors",
    "Memory": "memory",
    "Question": "corpus.documents",
    "Source": "inference.answer",
    "adapt": "training.adapt",
    "load_adapter": "inference.adapters",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
