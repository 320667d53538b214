"""The README.md of an adapter directory, in the form the Hugging Face hub expects of a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

_CARD = """\
---
base_model: {base}
library_name: mbc
tags: [memory, retrieval, lora, vector-quantization]
---

# A memory for {base}

This adapter gives a frozen LLM a memory: `mbc encode` turns documents into codes of a few bytes, and
`mbc query` answers questions from them. The LLM itself is unchanged and not included.

    mbc encode documents.jsonl --store my.mbc --adapter PATH_OF_THIS_DIRECTORY
    mbc query "..." --store my.mbc

| | |
|---|---|
| base model | {base}{revision} |
| method | {method} |
| codes per passage | {codes} |
| KV-LoRA | rank {rank}, last {last_layers} layers (`kv_lora/`, PEFT's format) |
| fingerprint | `{fingerprint}` |

Stores remember the fingerprint: codes made with one adapter mean nothing to another.

## How it was made

```yaml
{provenance}```
"""


def model_card(description: Mapping[str, Any]) -> str:
    """The model card for the content of an adapter's config.yaml."""
    model = description["model"]
    quantizer = model["quantizer"]
    revision = model["base_revision"]
    return _CARD.format(
        base=model["base_model"],
        revision=f" at {revision}" if revision else "",
        method=model["method"],
        codes=_codes(model["context_vectors"], quantizer),
        rank=model["kv_lora"]["rank"],
        last_layers=model["kv_lora"]["last_layers"],
        fingerprint=description["fingerprint"],
        provenance=yaml.safe_dump(description["provenance"] or "not recorded", sort_keys=False),
    )


def _codes(slots: int, quantizer: Mapping[str, Any]) -> str:
    if quantizer["kind"] == "none":
        return "none: context vectors are kept as they are"
    if quantizer["kind"] == "vocabulary":
        return f"at most {slots}, each a token of the LLM; {quantizer['kept']:.0%} of a passage's tokens"
    return (
        f"{slots} x {quantizer.get('num_quantizers', 1)}, {quantizer['codebook_size']} possible values each"
    )
