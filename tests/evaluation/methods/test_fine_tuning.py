"""Online fine-tuning learns what it is given, in its own LoRA."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError, UsageError
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.fine_tuning import FineTuningMethod
from mbc_cli.memory import Memory
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import FAMILIES

DOCUMENT = Document("d", "Mira Okafor opened the harbour museum in Lindholm.")
QUESTION = Question("q", "Who opened the museum?", ("Mira Okafor",), ("d",))


def learned(
    memory: Memory, folder: Path, documents: list[Document], seed: int = 0, **options: object
) -> FineTuningMethod:
    method = FineTuningMethod.make(Setting(memory, folder, seed, options))
    method.encode(documents, batch_size=4)
    return method


def surprise(method: FineTuningMethod, text: str) -> float:
    tokenizer = method._tokenizers.language_tokenizer
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return float(method._backbone.next_token_losses(ids, torch.ones_like(ids)).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_document_is_less_surprising_once_learned_and_at_first_the_llm_is_as_it_came(
    family: str, tmp_path: Path
) -> None:
    memory = Memory.create(tmp_path / "m.mbc", save_adapter_directory(tmp_path, family), device="cpu")
    untouched = learned(memory, tmp_path, [])
    alone = memory.answer_without_memory([QUESTION.question])[0].text
    assert untouched.reply([QUESTION], batch_size=2)[0].answer == alone
    ids = torch.tensor([memory.tokenizers.language_tokenizer(DOCUMENT.text)["input_ids"]])
    with torch.no_grad(), memory.model.backbone.without_lora():
        before = float(memory.model.backbone.next_token_losses(ids, torch.ones_like(ids)).mean())
    assert surprise(untouched, DOCUMENT.text) == pytest.approx(before, rel=1e-5)
    taught = learned(memory, tmp_path, [DOCUMENT], steps=8, learning_rate=1e-2)
    assert surprise(taught, DOCUMENT.text) < 0.8 * before


def test_it_shares_the_llms_weights_and_adds_only_its_lora(select_memory: Memory, tmp_path: Path) -> None:
    method = learned(select_memory, tmp_path, [])
    shared = {each.data_ptr() for each in select_memory.model.backbone.parameters()}
    own = {name: each for name, each in method._backbone.named_parameters() if each.data_ptr() not in shared}
    assert own
    assert all(".lora_" in name for name in own)
    assert method.bytes().fixed == {"LoRA": sum(each.numel() * 4 for each in own.values())}
    assert method.bytes().growing == {}


def test_documents_that_wait_for_a_step_are_known_and_still_wait(
    select_memory: Memory, tmp_path: Path
) -> None:
    documents = numbered_documents(3)
    waiting = learned(select_memory, tmp_path, documents, batch=2, learning_rate=1e-2)
    before = surprise(waiting, documents[2].text)
    waiting.reply([QUESTION], batch_size=2)
    assert surprise(waiting, documents[2].text) == before
    waiting.encode(numbered_documents(4)[3:], batch_size=2)
    at_once = learned(select_memory, tmp_path, numbered_documents(4), batch=2, learning_rate=1e-2)
    for document in numbered_documents(4):
        assert surprise(waiting, document.text) == surprise(at_once, document.text)


def test_equal_seeds_learn_alike_and_others_do_not(select_memory: Memory, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first, second, third = (
        surprise(learned(select_memory, tmp_path, [DOCUMENT], seed, learning_rate=1e-2), DOCUMENT.text)
        for seed in (3, 3, 4)
    )
    assert first == second != third


def test_texts_without_a_second_token_teach_nothing(select_memory: Memory, tmp_path: Path) -> None:
    before = surprise(learned(select_memory, tmp_path, []), DOCUMENT.text)
    empty = [Document("e", ""), Document("f", "a")]
    assert surprise(learned(select_memory, tmp_path, empty), DOCUMENT.text) == before


def test_a_question_too_long_for_the_llm_is_refused(select_memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="but the LLM has 256"):
        learned(select_memory, tmp_path, []).reply([Question("q", "Who? " * 99, (), ())], batch_size=2)


@pytest.mark.parametrize("options", [{"rank": 0}, {"learning_rate": 0}, {"steps": 0}, {"batch": 0}])
def test_settings_out_of_range_are_refused(
    options: dict[str, object], select_memory: Memory, tmp_path: Path
) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"method fine-tuning: {name}: "):
        FineTuningMethod.make(Setting(select_memory, tmp_path, options=options))
