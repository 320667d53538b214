"""All loading by `transformers` and PEFT goes through one door, behind which nothing runs and nobody asks."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mbc_cli
from mbc_cli.errors import MbcError
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.pretrained import load_config, load_tokenizer
from tests.support.tiny_models import save_language_model

PACKAGE = Path(mbc_cli.__file__).parent
DOOR = PACKAGE / "model" / "llm" / "pretrained.py"
WEIGHTS = {f"{name}.from_pretrained" for name in ("AutoModel", "AutoModelForCausalLM", "T5Model")}
LOADING = {"from_pretrained", "from_config", "for_model", "from_json_file", "load_adapter"}


def loading_calls(path: Path) -> Iterator[ast.Call]:
    """Calls of a file that load something with a class of another library."""
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)} | {"cls", "self"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mbc_cli"):
            own |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADING:
            holder = node.func.value
            if not (isinstance(holder, ast.Name) and holder.id in own):
                yield node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_no_other_file_loads_with_transformers_or_peft() -> None:
    others = {
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        if path != DOOR
        for call in loading_calls(path)
    }
    assert others == set()


def test_every_loading_call_forbids_foreign_code_and_names_its_attention() -> None:
    calls = [(ast.unparse(call.func), keywords(call)) for call in loading_calls(DOOR)]
    calls = [(name, given) for name, given in calls if name != "AutoConfig.for_model"]  # which reads no file
    assert len(calls) == 6
    for name, given in calls:
        assert given["trust_remote_code"] == "False", name
        if "Tokenizer" not in name:
            assert given["attn_implementation"] == "ATTENTION", name
        if name in WEIGHTS:
            assert given["use_safetensors"] == "True", name


def test_pickles_are_read_as_tensors_only() -> None:
    loads = [
        call
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("torch.load", "pickle.load")
    ]
    assert loads
    assert {(ast.unparse(call.func), keywords(call).get("weights_only")) for call in loads} == {
        ("torch.load", "True")
    }


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"]
)
def test_the_attention_is_ours_whatever_the_configuration_names(tmp_path: Path, key: str) -> None:
    save_language_model(tmp_path)
    edit(tmp_path / "config.json", **{key: "somebody/kernel"})
    assert load_config(str(tmp_path))._attn_implementation == "sdpa"
    assert Backbone.from_pretrained(str(tmp_path)).transformer.config._attn_implementation == "sdpa"


def test_weights_that_lack_a_tensor_are_refused_not_made_up(tmp_path: Path) -> None:
    save_language_model(tmp_path, layers=2)
    edit(tmp_path / "config.json", n_layer=3)
    with pytest.raises(MbcError, match=r"weights lack h\.2\.|weights lack transformer\.h\.2\."):
        Backbone.from_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "size"),
    [("n_layer", 10**7), ("n_embd", 4 * 10**9), ("n_embd", 4 * 10**8), ("n_positions", 10**8)],
)
def test_a_configuration_larger_than_its_weights_takes_no_memory(tmp_path: Path, key: str, size: int) -> None:
    save_language_model(tmp_path)
    edit(tmp_path / "config.json", **{key: size})
    with pytest.raises(MbcError, match=r"config\.json (says|describes)"):
        Backbone.from_pretrained(str(tmp_path))


@pytest.mark.parametrize(
    "place", ["../../other.safetensors", "/etc/other.safetensors", "inner/other.safetensors"]
)
def test_an_index_names_files_of_its_own_folder_only(tmp_path: Path, place: str) -> None:
    save_language_model(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"transformer.wte.weight": place}}
    (tmp_path / "base" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(MbcError, match="outside its folder"):
        Backbone.from_pretrained(str(tmp_path / "base"))


@pytest.mark.parametrize("key", ["vocab_file", "tokenizer_file"])
def test_a_tokenizer_names_files_of_its_own_folder_only(tmp_path: Path, key: str) -> None:
    save_language_model(tmp_path / "base")
    (tmp_path / "base" / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    edit(tmp_path / "base" / "tokenizer_config.json", **{key: "../tokenizer.json"})
    with pytest.raises(MbcError, match="outside its folder"):
        load_tokenizer(str(tmp_path / "base"))


def test_a_base_model_that_stands_for_another_is_refused(tmp_path: Path) -> None:
    save_language_model(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(MbcError, match="may name another model"):
        Backbone.from_pretrained(str(tmp_path))


def test_weights_in_several_files_are_loaded_as_one(tmp_path: Path) -> None:
    model = Backbone.from_pretrained(str(save_language_model(tmp_path / "one"))).transformer
    model.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert (tmp_path / "many" / "model.safetensors.index.json").exists()
    loaded = Backbone.from_pretrained(str(tmp_path / "many")).transformer
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
