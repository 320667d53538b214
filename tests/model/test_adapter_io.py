"""An adapter directory holds all that is needed, loads to the same model, and says what is wrong with it."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM

from mbc_cli.errors import MbcError
from mbc_cli.model.adapter import load_adapter, read_description, save_adapter
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.import_reference import import_reference
from mbc_cli.model.memory_model import MemoryModel
from tests.support.published import FIXTURES, KINDS, Published
from tests.support.tiny_models import SENTENCES, memory_config, save_tokenizer

QUESTIONS = ["Who opened the museum?", "Where?"]


def figures(model: MemoryModel, tokenizers) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of some documents and tokens of some answers."""
    documents, asked = tokenizers.encode_documents(SENTENCES), tokenizers.encode_questions(QUESTIONS)
    prompts = tokenizers.encode_prompts(QUESTIONS)
    with torch.no_grad():
        output = model.quantize(model.encode_documents(documents.input_ids, documents.attention_mask))
        reading = model.read(asked, TensorBank(output.quantized))
        assert reading.prefix is not None
        logits = model.answer_logits(reading.prefix(), prompts.input_ids, prompts.attention_mask)
    return output.codes, logits


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MemoryModel, object]:
    directory = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(9)
    model, tokenizers = create_memory_model(memory_config(directory))
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_adapter(model.eval(), directory / "adapter", tokenizers, {"steps": 3, "data": "some"})
    return directory, model, tokenizers


def test_a_loaded_adapter_computes_what_the_saved_one_did(saved) -> None:
    directory, model, tokenizers = saved
    loaded = load_adapter(directory / "adapter")
    codes, logits = figures(model, tokenizers)
    loaded_codes, loaded_logits = figures(loaded.model, loaded.tokenizers)
    assert torch.equal(codes, loaded_codes)
    assert torch.allclose(logits, loaded_logits, atol=1e-5)
    assert not loaded.model.training
    assert loaded.provenance == {"steps": 3, "data": "some"}
    description = read_description(directory / "adapter")
    assert description["fingerprint"] == model.fingerprint() == loaded.model.fingerprint()


# PEFT, used without us, asks transformers by a name that is deprecated.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_finds_the_base_model_by_itself_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the LLM was named by a relative path."""
    monkeypatch.chdir(tmp_path)
    model, tokenizers = create_memory_model(memory_config(Path()))
    save_adapter(model, tmp_path / "adapter", tokenizers, {})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    opened = AutoPeftModelForCausalLM.from_pretrained(str(tmp_path / "adapter" / "kv_lora"))
    assert opened.get_base_model().config.model_type == "gpt2"


def test_it_needs_nothing_but_the_base_model(saved, tmp_path: Path) -> None:
    directory, model, tokenizers = saved
    shutil.copytree(directory / "adapter", tmp_path / "moved")
    shutil.copytree(directory / "gpt2", tmp_path / "base")
    description = yaml.safe_load((tmp_path / "moved/config.yaml").read_text())
    for name in ("document_t5", "question_t5"):
        description["model"]["amortization"][name] = "not/there"
    description["model"]["base_model"] = "not/there"
    (tmp_path / "moved/config.yaml").write_text(yaml.safe_dump(description))
    loaded = load_adapter(tmp_path / "moved", base_model_override=str(tmp_path / "base"))
    assert torch.equal(figures(loaded.model, loaded.tokenizers)[0], figures(model, tokenizers)[0])


def test_the_base_model_may_lie_inside_the_adapter_but_not_be_pointed_to_outside(
    saved, tmp_path: Path
) -> None:
    directory, model, tokenizers = saved
    shutil.copytree(directory / "adapter", tmp_path / "moved")
    shutil.copytree(directory / "gpt2", tmp_path / "moved" / "base")
    config = tmp_path / "moved/config.yaml"
    description = yaml.safe_load(config.read_text())
    description["model"]["base_model"] = "./base"
    config.write_text(yaml.safe_dump(description))
    loaded = load_adapter(tmp_path / "moved")
    assert torch.equal(figures(loaded.model, loaded.tokenizers)[0], figures(model, tokenizers)[0])
    description["model"]["base_model"] = "./../../elsewhere"
    config.write_text(yaml.safe_dump(description))
    with pytest.raises(MbcError, match="outside the adapter"):
        load_adapter(tmp_path / "moved")


def test_saving_leaves_other_files_of_the_directory_alone(saved, tmp_path: Path) -> None:
    _, model, tokenizers = saved
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "metrics.jsonl").write_text("{}")
    save_adapter(model, tmp_path, tokenizers, {})
    save_adapter(model, tmp_path, tokenizers, {})
    assert (tmp_path / "training" / "metrics.jsonl").exists()
    assert load_adapter(tmp_path).model.fingerprint() == model.fingerprint()


def test_every_file_may_be_read_by_those_the_umask_lets_read(saved) -> None:
    adapter = saved[0] / "adapter"
    modes = {file.name: oct(file.stat().st_mode) for file in adapter.rglob("*") if file.is_file()}
    assert len(set(modes.values())) == 1, modes


def test_the_model_card_names_base_model_and_fingerprint(saved) -> None:
    directory, model, _ = saved
    card = (directory / "adapter/README.md").read_text()
    assert model.fingerprint() in card
    assert str(directory / "gpt2") in card
    assert "steps: 3" in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "mbc"


def _truncate(directory: Path) -> None:
    weights = directory / "memory.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _other_dimensions(directory: Path) -> None:
    config = directory / "config.yaml"
    config.write_text(config.read_text().replace("codebook_size: 16", "codebook_size: 17"))


def _unknown_key(directory: Path) -> None:
    config = directory / "config.yaml"
    config.write_text(config.read_text().replace("codebook_size: 16", "codez: 16"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_truncate, "cannot be read"),
        (_other_dimensions, "quantizer.codebooks"),
        (_unknown_key, "codez"),
        (lambda d: (d / "config.yaml").unlink(), "no config.yaml"),
        (lambda d: (d / "config.yaml").write_text("a: [1"), "cannot be read"),
        (lambda d: (d / "config.yaml").write_text("format: 1"), "reads format 2"),
        (lambda d: (d / "kv_lora/adapter_model.safetensors").unlink(), "cannot be read"),
        (lambda d: (d / "memory.safetensors").unlink(), "cannot be read"),
        (lambda d: shutil.rmtree(d / "document_t5"), "cannot be read"),
        (lambda d: shutil.rmtree(d / "tokenizers"), "tokenizer"),
    ],
)
def test_a_damaged_adapter_is_one_clear_line(saved, tmp_path: Path, damage, says: str) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(saved[0] / "adapter", directory)
    damage(directory)
    with pytest.raises(MbcError) as raised:
        load_adapter(directory)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture(params=KINDS)
def models_on_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The fixture's models with tokenizers beside them, as published models have."""
    directory = tmp_path / request.param
    shutil.copytree(FIXTURES / request.param, directory)
    for name, kind in (("base_lm", "causal"), ("amortization_t5", "t5"), ("question_t5", "t5")):
        save_tokenizer(directory / name, kind)
    return directory


def test_an_imported_checkpoint_is_an_adapter_with_the_published_output(
    models_on_disk: Path, tmp_path: Path
) -> None:
    published = Published.of(models_on_disk.name)
    names = {"base_model": "base_lm", "document_t5": "amortization_t5", "question_t5": "question_t5"}
    import_reference(
        models_on_disk / "reference.pt",
        tmp_path / "adapter",
        **{option: str(models_on_disk / name) for option, name in names.items()},
        lora_alpha=published.dimensions["lora_alpha"],
    )
    model = load_adapter(tmp_path / "adapter").model
    assert model.config.attends_to_padding
    inputs = published.inputs
    with torch.no_grad():
        vectors = model.encode_documents(inputs["text_ids_amort"], inputs["text_attention_amort"])
        asked = TokenBatch(inputs["gen_q_ids_amort"], inputs["gen_q_attn_mask_amort"])
        reading = model.read(asked, TensorBank(model.quantize(vectors).quantized))
        assert reading.prefix is not None
        prefix = reading.prefix()
        loss = model.answer_loss(prefix, inputs["qa_ids"], inputs["qa_attention"], inputs["qa_target_ids"])
    assert published.difference("batch_modulation", prefix.states) < 1e-4
    assert published.difference("qa_loss", loss) < 1e-4


class _Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")  # torch, before it refuses the file
def test_a_checkpoint_that_could_run_code_is_refused_unread(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Harmful(), "lora_state_dict": {}}, "harmful.pt")
    (tmp_path / "harmful.pickle").write_bytes(pickle.dumps(_Harmful()))
    for name in ("harmful.pt", "harmful.pickle"):
        with pytest.raises(MbcError, match="is not a checkpoint of tensors"):
            import_reference(Path(name), tmp_path / "a", base_model="b", document_t5="c", question_t5="d")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [{"model": {}}, {"state_dict": {}, "lora_state_dict": {}}])
def test_another_kind_of_checkpoint_is_one_clear_line(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(MbcError, match="published") as raised:
        import_reference(
            tmp_path / "other.pt",
            tmp_path / "adapter",
            base_model=str(FIXTURES / "gpt2/base_lm"),
            document_t5="t5-small",
            question_t5="t5-small",
        )
    assert "\n" not in str(raised.value)


def test_a_checkpoint_for_another_t5_is_refused(models_on_disk: Path, tmp_path: Path) -> None:
    other = memory_config(tmp_path).amortization.document_t5
    with pytest.raises(MbcError, match="does not fit"):
        import_reference(
            models_on_disk / "reference.pt",
            tmp_path / "adapter",
            base_model=str(models_on_disk / "base_lm"),
            document_t5=other,
            question_t5=str(models_on_disk / "question_t5"),
        )
