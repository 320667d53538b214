"""Documents and settings that somebody made to do harm, drawn from a small grammar with a seed."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Iterator

import pyarrow as pa
import zstandard
from pyarrow import parquet

_NUMBERS = (
    "9" * 5000,
    "1e400",
    "-1e400",
    "NaN",
    "0x" + "f" * 40,
    "1" + "_0" * 50,
    ".inf",
    "2026-99-99",
    "-0",
)
_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "\x1b[2J",
        "a\nerror: fake",
        "\u202egpj.exe",
        "\ufeff",
        "\ud83d",
        "é" * 600,
        "x" * 70_000,
    ),
    *(
        "../../etc/passwd",
        "s3://KEY:SECRET@bucket/p",
        "~no-one/x",
        "/dev/zero",
        "yes",
        "!!python/object:os.system",
    ),
)
_KEYS = ("id", "text", "title", "timestamp", "metadata", "digest", "spans", "__proto__", "")
_SETTINGS = (
    "yes",
    "store",
    "adapter",
    "batch_size",
    "memory",
    "encode",
    "forget",
    "corpus",
    "window",
    "stroe",
)


def hostile_documents(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` files: the ending of the name, and what is in it."""
    chance = random.Random(seed)
    makers: tuple[tuple[str, Callable[[random.Random], bytes]], ...] = (
        (".jsonl", _jsonl),
        (".csv", _csv),
        (".tsv", _csv),
        (".parquet", _parquet),
        (".txt", lambda chance: chance.choice(_TEXTS).encode(errors="surrogatepass")),
    )
    for _ in range(count):
        suffix, make = chance.choice(makers)
        data = make(chance)
        if chance.random() < 0.3:
            data = _spoilt(chance, data)
        if chance.random() < 0.2:
            packed = chance.choice((gzip.compress, zstandard.compress))
            suffix, data = f"{suffix}{'.gz' if packed is gzip.compress else '.zst'}", packed(data)
            if chance.random() < 0.5:
                data = _spoilt(chance, data)
        yield suffix, data


def hostile_settings(seed: int, count: int) -> Iterator[bytes]:
    """``count`` files of settings."""
    chance = random.Random(seed)
    for _ in range(count):
        lines = (f"{chance.choice(_SETTINGS)}: {_yaml(chance, 0)}" for _ in range(chance.randint(1, 3)))
        data = "\n".join(lines).encode(errors="surrogatepass")
        yield _spoilt(chance, data) if chance.random() < 0.3 else data


def _yaml(chance: random.Random, depth: int) -> str:
    kind = chance.randrange(8 if depth < 3 else 4)
    if kind == 0:
        return chance.choice(_NUMBERS)
    if kind < 3:
        return chance.choice(_TEXTS)
    if kind == 3:
        return chance.choice(
            ("yes", "null", "~", "&a [*a]", "*a", "[" * 500 + "]" * 500, "{a: 1, a: 2}", "!!binary x")
        )
    if kind == 4:
        return "[" + ", ".join(_yaml(chance, depth + 1) for _ in range(3)) + "]"
    return "{" + ", ".join(f"{chance.choice(_SETTINGS)}: {_yaml(chance, depth + 1)}" for _ in range(2)) + "}"


def _json(chance: random.Random, depth: int) -> str:
    kind = chance.randrange(7 if depth < 3 else 3)
    if kind == 0:
        return chance.choice((*_NUMBERS[:4], "true", "null", "[" * 3000 + "]" * 3000, "[" * 3000, "12"))
    if kind < 3:
        return ascii(chance.choice(_TEXTS)).replace("'", '"').replace("\\x", "\\u00")
    if kind == 3:
        return "[" + ",".join(_json(chance, depth + 1) for _ in range(3)) + "]"
    return "{" + ",".join(f'"{chance.choice(_KEYS)}":{_json(chance, depth + 1)}' for _ in range(4)) + "}"


def _jsonl(chance: random.Random) -> bytes:
    return "\n".join(_json(chance, 0) for _ in range(4)).encode()


def _csv(chance: random.Random) -> bytes:
    cells = (*_TEXTS, '"', '"open', "id", "text", *_NUMBERS)
    rows = (",".join(chance.choice(cells) for _ in range(chance.randint(1, 5))) for _ in range(4))
    start = chance.choice(("id,text", "id,text,title", "id,id", "," * 5000, ""))
    return "\r\n".join((start, *rows)).encode(errors="surrogatepass")


def _parquet(chance: random.Random) -> bytes:
    texts = [text.encode(errors="surrogatepass") for text in chance.choices(_TEXTS, k=3)]
    columns: dict[str, pa.Array] = {
        "id": pa.array(["a", "b", "c"]),
        "text": pa.array(texts),
        "title": pa.array([[None], ["x"] * 1000, []]),
        "timestamp": pa.array([2**62, -(2**62), 0], pa.timestamp(chance.choice(("us", "ns")))),
        "length": pa.array([2**62, 1, None], pa.duration("us")),
    }
    file = io.BytesIO()
    names = chance.sample(sorted(columns), chance.randint(2, 5))
    parquet.write_table(pa.table({name: columns[name] for name in names}), file, compression="zstd")
    return file.getvalue()


def _spoilt(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data) + 1)
        data = data[:place] + chance.randbytes(chance.randrange(4)) + data[place + chance.randrange(9) :]
    return data
