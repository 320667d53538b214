"""Adapters that somebody made to do harm, or that came out malformed: a grammar of them.

A hostile adapter is a sound one, with its LLM inside, of which one file was changed: a value of its tree, its
text, or the file itself. Checksums are left out, as whoever changes a file can make them anew. Whatever would
run writes the file ``mark`` beside the adapter; what lies in ``outside`` must stay as it is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Change = Callable[[Path], None]

BASE = "base/config.json"
CONFIG = "config.yaml"
INDEX = "base/model.safetensors.index.json"
TOKENIZER = "tokenizers/language/tokenizer.json"
TOKENIZER_CONFIG = "tokenizers/language/tokenizer_config.json"
WEIGHTS = ("memory.safetensors", "kv_lora/adapter_model.safetensors", "base/model.safetensors")
TREES = (
    CONFIG,
    BASE,
    "base/generation_config.json",
    TOKENIZER,
    TOKENIZER_CONFIG,
    "base/tokenizer_config.json",
)

ELSEWHERE = "../../outside/base/model.safetensors"
DEEP = "[" * 20_000 + "]" * 20_000
NUMBERS = (True, -1, 0, 0.5, 10**9, 10**30, float("nan"), float("inf"))
TEXTS = ("", "text", "\0", "../../outside", "é" * 300)
TREES_AS_VALUES: tuple[Any, ...] = ([], [1, "a", None], {}, {"a": {"b": [1]}}, [[]] * 50)
VALUES: tuple[Any, ...] = (None, *NUMBERS, *TEXTS, *TREES_AS_VALUES)

AUTO_MAP = {f"Auto{kind}": "evil.Evil" for kind in ("Config", "Model", "ModelForCausalLM")} | {
    "AutoTokenizer": ["evil.Evil", "evil.Evil"]
}


def make_whole(adapter: Path, base: Path, directory: Path) -> Path:
    """A sound adapter at ``directory``: ``adapter`` with the LLM ``base`` inside, without checksums."""
    shutil.copytree(adapter, directory)
    if base != adapter / "base":
        shutil.copytree(base, directory / "base")
    description = yaml.safe_load((directory / CONFIG).read_text())
    description["model"]["base_model"] = "./base"
    for checksums in ("files", "base_files"):
        description.pop(checksums, None)
    (directory / CONFIG).write_text(yaml.safe_dump(description))
    (directory.parent / "outside").mkdir(exist_ok=True)
    shutil.copytree(directory / "base", directory.parent / "outside" / "base", dirs_exist_ok=True)
    return directory


def set_value(file: str, path: tuple[str, ...], value: Any) -> Change:
    """Put ``value`` at ``path`` of a YAML or JSON file; an empty path is the whole."""

    def change(directory: Path) -> None:
        target = directory / file
        read, write = (yaml.safe_load, yaml.safe_dump) if file == CONFIG else (json.loads, json.dumps)
        tree = read(target.read_text()) if target.exists() else {}
        holder = tree
        for key in path[:-1]:
            holder = holder.setdefault(key, {}) if isinstance(holder, dict) else holder[key]
        if path:
            holder[path[-1]] = value
        else:
            tree = value
        target.write_text(write(tree))

    return change


def text(file: str, content: str | bytes) -> Change:
    """Make a file hold something else altogether."""

    def change(directory: Path) -> None:
        (directory / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def spliced(file: str, key: str, raw: str) -> Change:
    """Put a key with raw text as its value in front of a mapping's keys."""

    def change(directory: Path) -> None:
        target = directory / file
        old = target.read_text()
        target.write_text(
            f"{key}: {raw}\n{old}" if file == CONFIG else f'{{"{key}": {raw}, ' + old.lstrip()[1:]
        )

    return change


def replaced_by(file: str, make: Callable[[Path], None]) -> Change:
    """Put a link, a pipe or a folder in a file's place."""

    def change(directory: Path) -> None:
        target = directory / file
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        make(target)

    return change


def link_to(place: str) -> Callable[[Path], None]:
    return lambda target: target.symlink_to(place)


def bytes_changed(file: str, change_bytes: Callable[[bytearray], None]) -> Change:
    def change(directory: Path) -> None:
        content = bytearray((directory / file).read_bytes())
        change_bytes(content)
        (directory / file).write_bytes(content)

    return change


def huge(file: str, size: int) -> Change:
    """A file of many bytes that takes no room on disk."""

    def change(directory: Path) -> None:
        with (directory / file).open("r+b") as stream:
            stream.truncate(size)

    return change


def code_in(file: str, **fields: Any) -> Change:
    """Ask `transformers` to import a file that leaves a mark."""

    def change(directory: Path) -> None:
        mark = directory.parent / "mark"
        code = f"open({str(mark)!r}, 'w').write('ran')\nclass Evil: pass\n"
        (directory / file).parent.joinpath("evil.py").write_text(code)
        set_value(file, ("auto_map",), AUTO_MAP)(directory)
        for key, value in fields.items():
            set_value(file, (key,), value)(directory)

    return change


def index_names(place: str) -> Change:
    def change(directory: Path) -> None:
        (directory / WEIGHTS[2]).unlink()
        (directory / INDEX).write_text(json.dumps({"weight_map": {"transformer.wte.weight": place}}))

    return change


def _header_claims(content: bytearray) -> None:
    content[:8] = (2**40).to_bytes(8, "little")


def _halved(content: bytearray) -> None:
    del content[len(content) // 2 :]


KNOWN: dict[str, Change] = {
    # config.yaml
    "config nests deeply": spliced(CONFIG, "x", DEEP),
    "config has a long number": spliced(CONFIG, "x", "9" * 5000),
    "config has no such date": spliced(CONFIG, "x", "2026-99-99"),
    "config has aliases": spliced(CONFIG, "x", "&a [1]\ny: *a"),
    "config makes objects": spliced(CONFIG, "x", "!!python/object/apply:os.system ['true']"),
    "config is huge": huge(CONFIG, 300 << 20),
    "config is a pipe": replaced_by(CONFIG, lambda target: os.mkfifo(target)),
    "config is endless": replaced_by(CONFIG, link_to("/dev/zero")),
    "config is a link": replaced_by(CONFIG, link_to("../outside/base/config.json")),
    "config is a folder": replaced_by(CONFIG, lambda target: target.mkdir()),
    "config is no UTF-8": text(CONFIG, b"\xff\xfe\x00"),
    "config is a list": set_value(CONFIG, (), [1]),
    "provenance is a list": set_value(CONFIG, ("provenance",), [1]),
    "provenance is text": set_value(CONFIG, ("provenance",), "text"),
    "fingerprint is a list": set_value(CONFIG, ("fingerprint",), ["a"]),
    "base has a NUL": set_value(CONFIG, ("model", "base_model"), "./\0"),
    "base is above": set_value(CONFIG, ("model", "base_model"), "./../outside/base"),
    "base is above everything": set_value(CONFIG, ("model", "base_model"), "./" + "../" * 12 + "etc"),
    "base is the adapter": set_value(CONFIG, ("model", "base_model"), "./"),
    "a million context vectors": set_value(CONFIG, ("model", "context_vectors"), 10**6),
    "a billion context vectors": set_value(CONFIG, ("model", "context_vectors"), 10**12),
    "a million LoRA layers": set_value(CONFIG, ("model", "kv_lora", "last_layers"), 10**6),
    "a huge LoRA": set_value(CONFIG, ("model", "kv_lora", "rank"), 10**9),
    "checksums elsewhere": set_value(
        CONFIG, ("files",), {"../outside/base/config.json": {"size": 1, "sha256": "0" * 64}}
    ),
    "a million blocks": set_value(CONFIG, ("model", "aggregation", "blocks"), 10**6),
    # the LLM
    "LLM nests deeply": spliced(BASE, "x", DEEP),
    "LLM of no heads": set_value(BASE, ("n_head",), 0),
    "LLM of textual heads": set_value(BASE, ("n_head",), "text"),
    "LLM of negative vocabulary": set_value(BASE, ("vocab_size",), -1),
    "LLM of unknown dtype": set_value(BASE, ("dtype",), "float3"),
    "LLM of unknown activation": set_value(BASE, ("activation_function",), "nothing"),
    "LLM quantised by gptq": set_value(BASE, ("quantization_config",), {"quant_method": "gptq", "bits": 4}),
    "LLM with a kernel": set_value(BASE, ("attn_implementation",), "somebody/kernel"),
    "LLM of ten million layers": set_value(BASE, ("n_layer",), 10**7),
    "LLM of a billion columns": set_value(BASE, ("n_embd",), 10**9),
    "LLM of code": code_in(BASE, model_type="evil"),
    "LLM of a known kind with code": code_in(BASE),
    "LLM stands for another": text(
        "base/adapter_config.json", '{"base_model_name_or_path": "../outside/base"}'
    ),
    "LLM is a link": replaced_by("base", link_to("../outside/base")),
    "LLM's weights lie above": index_names(ELSEWHERE),
    "LLM's weights lie elsewhere": set_value(BASE, ("transformers_weights",), ELSEWHERE),
    # tokenizers
    "tokenizer nests deeply": text(TOKENIZER, DEEP),
    "tokenizer is a list": text(TOKENIZER, "[]"),
    "tokenizer's settings are a list": text(TOKENIZER_CONFIG, "[]"),
    "tokenizer of code": code_in(TOKENIZER_CONFIG, tokenizer_class="Evil"),
    "tokenizer of a known kind with code": code_in(TOKENIZER_CONFIG),
    "tokenizer of textless length": set_value(TOKENIZER_CONFIG, ("model_max_length",), []),
    "tokenizer lies above": set_value(
        TOKENIZER_CONFIG, ("tokenizer_file",), "../../../outside/base/tokenizer.json"
    ),
    "tokenizer with a model's settings": text(
        "tokenizers/language/config.json", '{"model_type": "qwen2", "num_hidden_layers": 1000000000}'
    ),
    # weights
    "weights are a pipe": replaced_by(WEIGHTS[0], lambda target: os.mkfifo(target)),
    "weights are a link": replaced_by(WEIGHTS[0], link_to("../outside/base/model.safetensors")),
    "weights are half": bytes_changed(WEIGHTS[0], _halved),
    "weights claim a huge header": bytes_changed(WEIGHTS[0], _header_claims),
    "LoRA's folder is a link": replaced_by("kv_lora", link_to("../outside/base")),
    "LLM's weights are a pipe": replaced_by(WEIGHTS[2], lambda target: os.mkfifo(target)),
    "LLM's weights claim a huge header": bytes_changed(WEIGHTS[2], _header_claims),
}


def paths_of(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All places of a tree's mappings, the whole first."""
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from paths_of(value, (*path, key))


def drawn(seed: int, directory: Path) -> tuple[str, Change]:
    """A change of one file of the sound adapter at ``directory``, drawn from the grammar, and its name."""
    draw = random.Random(seed)
    kind = draw.choice(["value", "value", "value", "value", "raw", "file", "bytes"])
    file = draw.choice([name for name in TREES if (directory / name).exists()])
    if kind == "value":
        content = (directory / file).read_text()
        places = list(paths_of(yaml.safe_load(content) if file == CONFIG else json.loads(content)))
        path, value = draw.choice([p for p in places if len(p) < 5]), draw.choice(VALUES)
        return f"{file}: {'.'.join(path) or 'all'} is {str(value)[:30]!r}", set_value(file, path, value)
    if kind == "raw":
        raw = draw.choice([DEEP, "9" * 5000, "1" + "0" * 400, '"\\ud800"', "{" * 300, "nan"])
        return f"{file}: raw {raw[:12]!r}", spliced(file, draw.choice(["x", "model_type", "format"]), raw)
    if kind == "file":
        file = draw.choice([*TREES, *WEIGHTS, "base", "kv_lora", "tokenizers"])
        makes: dict[str, Callable[[Path], None]] = {
            "a pipe": lambda target: os.mkfifo(target),
            "a link out": link_to("../outside/base"),
            "a link to itself": lambda target: target.symlink_to(target),
            "endless": link_to("/dev/zero"),
            "a folder": lambda target: target.mkdir(),
            "gone": lambda target: None,
        }
        name = draw.choice(sorted(makes))
        return f"{file} is {name}", replaced_by(file, makes[name])
    file = draw.choice(WEIGHTS)

    def flip(content: bytearray) -> None:
        for _ in range(draw.choice([1, 20, 2000])):
            content[draw.randrange(min(len(content), 4096))] ^= 1 << draw.randrange(8)

    return f"{file}: bits of its header flipped", bytes_changed(file, flip)
