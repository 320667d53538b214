"""What methods with learned codebooks share: context vectors become codes and back (MBC section 3.2).

documents -> amortizer -> code space -> quantizer -> codes.
"""

from __future__ import annotations

import hashlib

from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from mbc_cli.model.bank import EncodedPassages
from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import SelectConfig, WholeBankConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.quantizer import PassThrough, QuantizerOutput, VectorQuantizer


class QuantizedMemoryModel(MemoryModel):
    """A memory model whose passages are context vectors, each quantised by a learned codebook.

    Shapes as in `MemoryModel`.
    """

    config: SelectConfig | WholeBankConfig

    def __init__(
        self,
        config: SelectConfig | WholeBankConfig,
        backbone: Backbone,
        *,
        amortizer: nn.Module,
        code_space: IdentityCodeSpace | ProjectedCodeSpace,
        quantizer: PassThrough | VectorQuantizer,
    ) -> None:
        super().__init__(config, backbone)
        self.amortizer = amortizer
        self.code_space = code_space
        self.quantizer = quantizer

    @property
    def context_width(self) -> int:
        return self.code_space.width

    @property
    def code_shape(self) -> tuple[int, int, int]:
        quantizer = self.config.quantizer
        if quantizer.kind == "none":
            raise ValueError("this model has quantizer.kind 'none' and makes no codes")
        return self.config.context_vectors, quantizer.num_quantizers, quantizer.codebook_size

    def encode_passages(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> EncodedPassages:
        vectors = self.encode_documents(input_ids, attention_mask)
        output = self.quantize(vectors)
        error = (vectors - output.quantized.float()).square().mean(dim=(1, 2))
        return EncodedPassages(output.quantized if self.has_codebooks else vectors, output.codes, error)

    def finish_training(self) -> None:
        """Make what was trained ready to be saved as an adapter, wherever its training stopped."""
        self.quantizer.number_by_usage()

    def encode_documents(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> Float[Tensor, "B T C"]:
        """Context vectors (B, T, C) float32 of documents, before quantisation, in one forward pass."""
        return self.code_space.enter(self.amortizer(input_ids, attention_mask)).float()

    def quantize(self, context_vectors: Float[Tensor, "B T C"]) -> QuantizerOutput:
        """Codes of context vectors (B, T, C); in training mode also updates the codebooks."""
        return self.quantizer(context_vectors)

    def decode(self, passages: Num[Tensor, "N T width"]) -> Float[Tensor, "N T D"]:
        """Codes (N, T, L) of any integer type, by a look-up, or context vectors (N, T, C) -> (N, T, D)."""
        vectors = passages if passages.is_floating_point() else self.quantizer.decode(passages.long())
        return self.code_space.leave(vectors)

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with anything that changes the codes of a document.

        Over the weights of amortizer, code space and codebooks, and the settings that shape their result.
        """
        digest = hashlib.sha256()
        quantizer = self.config.quantizer
        codebook = "shared" if quantizer.kind == "none" else quantizer.codebook
        for setting in (self.config.attends_to_padding, codebook):
            digest.update(repr(setting).encode())
        for part in (self.amortizer, self.code_space, self.quantizer):
            for name, value in sorted(part.state_dict().items()):
                if name in ("usage", "sums"):  # statistics of training, of no effect on codes
                    continue
                digest.update(f"{name}{tuple(value.shape)}".encode())
                digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]
