"""How few bits an LLM may be loaded in."""

from typing import Literal

Quantize = Literal["nf4", "int8"]
"""4 bits as NormalFloat (QLoRA, arXiv 2305.14314), or 8 as integers (arXiv 2208.07339), by bitsandbytes."""
