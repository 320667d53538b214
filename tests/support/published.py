"""The published implementation's small models, inputs and outputs (tests/fixtures/parity)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mbc_cli.model.batches import TrainingBatch
from mbc_cli.model.import_reference import infer_config
from mbc_cli.model.llm.architectures import model_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.whole_bank.build import build_whole_bank_model
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from mbc_cli.model.whole_bank.reference import load_checkpoint, read_checkpoint

FIXTURES = Path(__file__).parents[1] / "fixtures" / "parity"
KINDS = ("gpt2", "llama")


@dataclass(frozen=True)
class Published:
    """One fixture: its directory, the batch that went in and what the published code computed."""

    directory: Path
    inputs: dict[str, Tensor]
    expected: dict[str, Tensor]
    dimensions: dict[str, float]

    @classmethod
    @cache
    def of(cls, kind: str) -> Published:
        directory = FIXTURES / kind
        return cls(
            directory,
            load_file(directory / "inputs.safetensors"),
            load_file(directory / "expected.safetensors"),
            json.loads((directory / "config.json").read_text()),
        )

    def checkpoint(self) -> dict[str, dict[str, Tensor]]:
        """The published weights under their published names."""
        return read_checkpoint(self.directory / "reference.pt")

    def resized(self, vectors: int) -> dict[str, dict[str, Tensor]]:
        """The published weights as if trained with ``vectors`` context vectors and one prefix token.

        More of them than there were are like those there were, but for a random part of their prompts.
        """
        layers, trained = (
            int(self.dimensions["num_hidden_layers"]),
            int(self.dimensions["num_virtual_tokens"]),
        )
        kept: dict[str, Tensor] = {}
        for name, value in self.checkpoint()["state_dict"].items():
            slotted = re.match(r"(mlps|aggregator\.mlps|token_SA\.mlp_layers)\.(\d+)\.", name)
            if name.endswith("learnable_prompts"):
                torch.manual_seed(vectors)
                prompts = value[:, torch.arange(vectors) % trained]
                kept[name] = prompts + 0.3 * torch.randn_like(prompts)
            elif slotted is None or (slotted[1] == "token_SA.mlp_layers" and int(slotted[2]) < 2 * layers):
                kept[name] = value
            elif slotted[1] != "token_SA.mlp_layers":
                for slot in range(int(slotted[2]), vectors, trained):
                    kept[name.replace(f".{slotted[2]}.", f".{slot}.", 1)] = value
        return {"state_dict": kept, "lora_state_dict": self.checkpoint()["lora_state_dict"]}

    def model(self, checkpoint: dict[str, dict[str, Tensor]] | None = None) -> WholeBankMemoryModel:
        """A fresh model with the published weights, or with ``checkpoint``'s."""
        checkpoint = checkpoint or self.checkpoint()
        base = str(self.directory / "base_lm")
        config = infer_config(
            checkpoint,
            model_config(base),
            base_model=base,
            document_t5=str(self.directory / "amortization_t5"),
            question_t5=str(self.directory / "question_t5"),
            lora_alpha=self.dimensions["lora_alpha"],
        )
        model = build_whole_bank_model(config, Backbone.from_pretrained(base))
        load_checkpoint(model, checkpoint)
        return model.eval()

    def batch(self, prefix: str = "") -> TrainingBatch:
        """The batch of the inputs whose names start with ``prefix``, such as ``train_step_0.``."""
        names = ("text_ids_amort", "text_attention_amort", "gen_q_ids_amort", "gen_q_attn_mask_amort")
        answers = ("qa_ids", "qa_attention", "qa_target_ids")
        encoded = [self.inputs[prefix + name] for name in names]
        answered = [self.inputs[prefix + name] for name in answers]
        return TrainingBatch(*[*encoded, torch.arange(len(encoded[0])), *answered])

    def difference(self, name: str, value: Tensor) -> float:
        """Largest absolute difference to the published value of ``name``."""
        assert value.shape == self.expected[name].shape
        return (value.double() - self.expected[name].double()).abs().max().item()
