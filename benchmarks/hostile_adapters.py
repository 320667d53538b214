"""Hostile adapters in large numbers: what ran, wrote outside, failed inside or hung, which must be nothing.

    python benchmarks/hostile_adapters.py                  # the known ones
    python benchmarks/hostile_adapters.py --drawn 100      # and as many drawn from the grammar

Each is put to `mbc query` (with `y` on stdin, for whoever asks), `mbc adapter info` and `mbc adapter verify`,
each in a process of its own: forked, so that none has to import torch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from mbc_cli.cli.app import main as mbc
from tests.support.hostile_adapters import KNOWN, Change, drawn, make_whole
from tests.support.tiny_memories import save_adapter_directory
from tests.support.tiny_models import select_config

FORBIDDEN = ("executed", "written outside", "internal errors", "hung", "killed")
STDIN = b"y\nWho opened the museum?\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--drawn", type=int, default=0, help="adapters drawn from the grammar")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a command counts as hung")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(Path(folder), arguments.drawn, arguments.seed, arguments.seconds)
    for name, count in counts.items():
        print(f"{name:>22} {count:>6}")
    sys.exit(
        any(counts[name] for name in ("executed", "written outside", "internal errors", "hung", "killed"))
    )


def run(root: Path, count: int, seed: int, seconds: float) -> Counter[str]:
    os.environ |= {"MBC_CONFIG_HOME": str(root / "configuration"), "HF_HUB_OFFLINE": "1"}
    counts: Counter[str] = Counter()
    for number in range(2):
        kind = {} if number == 0 else {"make_config": select_config}
        sound = save_adapter_directory(root / f"sound-{number}", **kind)
        store = root / f"store-{number}.mbc"
        # In a child too: the threads of a store do not survive a fork.
        made, stderr = in_child(
            ["encode", "-", "--store", str(store), "--adapter", str(sound)], root, seconds
        )
        assert made == 0, stderr
        place = root / f"case-{number}"
        changes = KNOWN if number == 0 else {}
        names = [*changes, *range(seed + number, seed + count, 2)]
        for name in names:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            directory = make_whole(sound, sound.parent / "gpt2", place / "adapter")
            said, change = (name, KNOWN[name]) if isinstance(name, str) else drawn(name, directory)
            try_one(root, place, store, said, change, seconds, counts)
            if counts["adapters"] % 20 == 0:
                print(f"{counts['adapters']} adapters", file=sys.stderr)
    return counts


def try_one(
    root: Path, place: Path, store: Path, name: str, change: Change, seconds: float, counts: Counter[str]
) -> None:
    """Make one adapter of the case's folder hostile, give it to the commands, and count what came of it."""
    change(place / "adapter")
    before = everything_but(root, place / "adapter")
    commands = (
        ["query", "-", "--store", str(store), "--adapter", str(place / "adapter")],
        ["adapter", "info", str(place / "adapter")],
        ["adapter", "verify", str(place / "adapter")],
    )
    counts["adapters"] += 1
    for command in commands:
        code, stderr = in_child(command, root, seconds)
        counts["commands"] += 1
        counts["refused"] += code == 1
        counts["worked"] += code == 0
        found = {
            "hung": code == -signal.SIGKILL,
            "killed": code < 0 and code != -signal.SIGKILL,
            "internal errors": "internal error" in stderr or "Traceback" in stderr or code not in (0, 1, -9),
            "executed": (place / "mark").exists(),
        }
        for kind in (kind for kind, it_is in found.items() if it_is):
            counts[kind] += 1
            print(f"{kind}: {name}: {' '.join(command[:2])}: {stderr[-300:]}", file=sys.stderr)
    after = everything_but(root, place / "adapter")
    counts["written outside"] += before != after
    if before != after:
        print(f"written outside: {name}: {sorted(set(before) ^ set(after))}", file=sys.stderr)
    for kind in FORBIDDEN:
        counts.setdefault(kind, 0)


def everything_but(root: Path, left_out: Path) -> dict[str, bytes]:
    """All files below ``root``, but for those of the adapter and of what the commands may write."""
    ignored = (left_out, root / "configuration", root / "stderr", *(root.glob("*.mbc/locks/readers")))
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path): path.read_bytes() for path in files if not any(path.is_relative_to(it) for it in ignored)
    }


def in_child(command: list[str], root: Path, seconds: float) -> tuple[int, str]:
    """Exit code (negative: the signal) and stderr of ``mbc`` in a child; SIGKILL if it takes too long."""
    stderr = root / "stderr"
    process = os.fork()
    if process == 0:
        read, write = os.pipe()
        os.write(write, STDIN)
        os.close(write)
        os.dup2(read, 0)
        # The parent's may know that it can seek, as a pipe cannot.
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        try:
            mbc(command)
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(end.code or 0))
        os._exit(99)
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), stderr.read_text(errors="replace")
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


if __name__ == "__main__":
    main()
