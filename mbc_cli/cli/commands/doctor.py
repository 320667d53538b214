"""``mbc doctor``: is everything here that mbc needs, and what will it run on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.options import Adapter, Json
from mbc_cli.errors import DISTRIBUTION, ExitCode

PACKAGES = ("torch", "transformers", "peft", "accelerate", "icechunk", "zarr", "numpy", "typer")
OPTIONAL_PACKAGES = ("datasets", "bitsandbytes", "tensorboard", "wandb")
HUB = "https://huggingface.co"
HUB_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``ok`` is None for what may be missing."""

    name: str
    ok: bool | None
    finding: str


def doctor(
    store: Annotated[
        str | None,
        typer.Option("--store", "-s", envvar="MBC_STORE", metavar="PATH", help="A store to look at as well."),
    ] = None,
    adapter: Adapter = None,
    json: Json = False,
) -> None:
    """Check this installation: packages, device, hub, adapter and store. Exit code 1 if something is wrong.

    A missing hub, GPU or optional package is no fault: everything runs without.

    Examples:

      mbc doctor

      mbc doctor --store news.mbc --json
    """
    checks = [
        Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    ]
    checks.append(_package(DISTRIBUTION, required=False))
    checks += [_package(name, required=True) for name in PACKAGES]
    checks += [_package(name, required=False) for name in OPTIONAL_PACKAGES]
    checks.append(_guarded("device", _device))
    checks.append(_hub())
    checks.append(_guarded("adapter", lambda: _adapter(adapter, store)))
    if store is not None:
        checks.append(_guarded("store", lambda: _store(store)))
    if json:
        for check in checks:
            output.write_json(check)
    else:
        marks = {True: "ok", False: "WRONG", None: "-"}
        output.write_table(["check", "", "finding"], [[c.name, marks[c.ok], c.finding] for c in checks])
    if any(check.ok is False for check in checks):
        raise typer.Exit(ExitCode.FAILED)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as failure:  # whatever is wrong with an installation is a finding
        return Check(name, False, " ".join(str(failure).split())[:300] or type(failure).__name__)


def _package(name: str, *, required: bool) -> Check:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(
            name, False if required else None, "not installed" if required else "not installed (optional)"
        )


def _device() -> Check:
    import torch

    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    if not torch.cuda.is_available():
        return Check("device", True, f"cpu, {threads}")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    quantizes = "" if find_spec("bitsandbytes") else "; install bitsandbytes for --quantize"
    return Check("device", True, f"{', '.join(names)}; {threads}{quantizes}")


def _hub() -> Check:
    """Ask the hub in a thread of its own: looking up a name can hang for longer than any timeout says."""
    from threading import Thread

    endpoint = os.environ.get("HF_ENDPOINT", HUB)
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}:
        return Check("hub", None, "offline by HF_HUB_OFFLINE; local models work")
    findings: list[str] = []
    thread = Thread(target=lambda: findings.append(_answer_of(endpoint)), daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    finding = findings[0] if findings else f"no answer within {HUB_SECONDS:.0f} s"
    if finding == "":
        return Check("hub", True, f"{endpoint} answers")
    return Check("hub", None, f"{endpoint} cannot be reached ({finding}); local models work")


def _answer_of(endpoint: str) -> str:
    """Why ``endpoint`` does not answer; empty if it does."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=HUB_SECONDS).close()
    except HTTPError:
        return ""  # it answered, whatever it thinks of the request
    except (OSError, ValueError) as failure:
        return str(getattr(failure, "reason", failure))
    return ""


def _adapter(name: str | None, store: str | None) -> Check:
    """The adapter named, else the one that the store was made with, else the bundled one."""
    from mbc_cli.inference.adapters import resolve_adapter, resolve_recorded
    from mbc_cli.model.adapter import read_description
    from mbc_cli.model.adapter_verification import verify_adapter

    made_with = None
    if store is not None:
        from mbc_store import MemoryStore

        made_with = MemoryStore.open(store).config
    if name is None and made_with is not None:
        location = resolve_recorded(made_with.adapter, made_with.fingerprint, store)
    else:
        location = resolve_adapter(name)
    described = read_description(location.directory)
    fingerprint = described["fingerprint"]
    what = f"{location.name}: {described['model'].base_model}, fingerprint {fingerprint}"
    found = verify_adapter(location.directory)
    if not found.sound:
        return Check("adapter", False, f"{what}; {'; '.join(found.problems[:3])}")
    if made_with is not None and made_with.fingerprint != fingerprint:
        return Check("adapter", False, f"{what}; but {store} was made with {made_with.fingerprint}")
    made = "" if made_with is None else f", with which {store} was made"
    return Check("adapter", True, f"{what}{made}; {found.unchecked or f'{found.files} files as recorded'}")


def _store(location: str) -> Check:
    from mbc_store import MemoryStore

    opened = MemoryStore.open(location)
    with opened.snapshot() as snapshot:
        count = snapshot.document_count
    return Check("store", True, f"{location}: {count:,} documents, adapter {opened.config.adapter}")
