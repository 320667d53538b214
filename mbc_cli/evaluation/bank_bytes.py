"""What a bank weighs, by four measures that must not be confused."""

from __future__ import annotations

from dataclasses import dataclass

from mbc_cli.evaluation.method import MethodBytes
from mbc_cli.evaluation.vector_memory import AnyMemory, VectorMemory
from mbc_cli.model.llm.kv_lora import lora_state
from mbc_cli.model.memory_model import MemoryModel

_TEXTS, _CODEBOOKS = "documents/text", "quantizer.codebooks"


@dataclass(frozen=True, slots=True)
class BankBytes:
    """Bytes per document; None where the bank is not on disk but in memory, as vectors.

    Attributes:
        packed: every code in ceil(log2 K) bits: what "9 bits per code" means for K=512.
        entropy: every code at the Shannon entropy of its slot's and level's code usage, the bound for a
            coder that knows the usage; too low for banks that are small against K.
        stored_codes: the codes as compressed on disk.
        stored: the whole store on disk: codes, ids, texts where kept, index and history.
        float32: the same context vectors before quantisation.
    """

    packed: float | None
    entropy: float | None
    stored_codes: float | None
    stored: float | None
    float32: float


def bank_bytes(memory: AnyMemory) -> BankBytes:
    """Measure the newest snapshot of ``memory``'s store, or its vectors.

    Raises:
        ValueError: the memory holds no documents.
    """
    if not memory.document_count:
        raise ValueError("an empty bank has no bytes per document")
    if isinstance(memory, VectorMemory):
        return BankBytes(None, None, None, None, memory.float32_bytes / memory.document_count)
    info = memory.store.info()
    passages = info.passages / info.documents
    bits = (info.codebook_size - 1).bit_length()
    on_disk = info.current_bytes if info.disk_bytes is None else info.disk_bytes
    return BankBytes(
        packed=passages * info.slots * info.num_quantizers * bits / 8,
        entropy=passages * abs(info.code_entropy_bits) / 8,
        stored_codes=info.code_bytes / info.documents,
        stored=on_disk / info.documents,
        float32=passages * info.slots * memory.context_width * 4,
    )


def memory_bytes(memory: AnyMemory) -> MethodBytes:
    """What ``memory`` keeps, in total: its store's newest snapshot or its vectors, and what its adapter adds.

    Codes are as compressed on disk; ``packed`` and ``entropy`` are as in :class:`BankBytes`.
    """
    fixed = adapter_bytes(memory.model)
    if isinstance(memory, VectorMemory):
        fixed.pop("codebook", None)
        return MethodBytes({"vectors": float(memory.float32_bytes)}, fixed)
    info = memory.store.info()
    others = dict(info.array_bytes)
    codes, text = others.pop("passages/codes", 0), others.pop(_TEXTS, 0)
    growing = {"codes": float(codes), "ids and index": float(sum(others.values()))}
    if info.keep_text:
        growing["text"] = float(text)
    values = info.passages * info.slots
    alternatives = {
        "codes, packed": values * info.num_quantizers * (info.codebook_size - 1).bit_length() / 8,
        "codes, entropy": info.passages * abs(info.code_entropy_bits) / 8,
        "vectors, float32": float(values * memory.context_width * 4),
    }
    return MethodBytes(growing, fixed, alternatives)


def adapter_bytes(model: MemoryModel) -> dict[str, float]:
    """What an adapter adds to its LLM, as it is stored: ``codebook``, where it has its own, and ``adapter``.

    Codes that are tokens take the LLM's own embedding table as their codebook, which costs nothing.
    """
    parts = {"codebook": 0.0, "adapter": kv_lora_bytes(model)}
    for name, value in model.adapter_state().items():
        parts["codebook" if name == _CODEBOOKS else "adapter"] += value.numel() * value.element_size()
    return {name: size for name, size in parts.items() if size}


def kv_lora_bytes(model: MemoryModel) -> float:
    """The bytes of KV-LoRA."""
    return float(sum(value.numel() * value.element_size() for value in lora_state(model.backbone).values()))
