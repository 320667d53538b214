"""Kills, power cuts, crowds and full disks in large numbers, as one table.

    python benchmarks/store_faults.py                                   # small numbers
    python benchmarks/store_faults.py --kills 1000 --power-cuts 100     # as root: real file systems

Power cuts: as root, an ext4 image on a loop device is shut down without flushing its journal (the ioctl
that file system testers use), which drops every unsynced write, and is mounted again. Otherwise the model
in tests/support/store/power.py, which lets every unsynced file be whole, cut short, empty or absent.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mbc_store import MemoryStore, StoreError

from tests.support.store import SMALL, Faults, PowerCutModel, in_child, make_records, run_crowd, state_of

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
WITHOUT_FLUSHING_THE_JOURNAL = 2
Row = tuple[str, int, int, str]


def kills(root: Path, count: int, seed: int) -> Row:
    faults = Faults(root / "kills", seed)
    for done in range(count):
        faults.check(faults.run_until_killed(faults.chance.uniform(0.02, 0.6)))
        if (done + 1) % 50 == 0:
            print(f"{done + 1} kills, {faults.acknowledged} changes acknowledged, 0 lost", file=sys.stderr)
    return "kill -9 (change, compact, gc, purge)", count, faults.acknowledged, "0 lost"


def modelled_power_cuts(root: Path, count: int) -> Row:
    model = PowerCutModel(root / "power", root / "power.durable")
    faults = Faults(root / "power", seed=2, wrap=model.install)
    model.copy()
    for _ in range(count):
        allowed = faults.run_until_killed(faults.chance.uniform(0.1, 1.0))
        model.cut(faults.chance)
        faults.check(allowed)
        model.copy()
    return "power cut (model)", count, faults.acknowledged, "0 lost"


def real_power_cuts(root: Path, count: int) -> Row:
    image, mount = root / "disk.img", root / "disk"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(512 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    attach = ["mount", "-o", "loop", image, mount]
    subprocess.run(attach, check=True)
    try:
        faults = Faults(mount / "store", seed=3)
        faults.quiet = True
        os.sync()
        for _ in range(count):
            allowed = faults.run_until_killed(faults.chance.uniform(0.05, 0.8), lambda: _shut_down(mount))
            subprocess.run(["umount", mount], check=True)
            subprocess.run(attach, check=True)
            faults.check(allowed)
    finally:
        subprocess.run(["umount", mount], check=False)
    return "power cut (ext4 without its unsynced writes)", count, faults.acknowledged, "0 lost"


def _shut_down(mount: Path) -> None:
    descriptor = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_JOURNAL))
    finally:
        os.close(descriptor)


def crowd(root: Path, writers: int, changes: int) -> Row:
    run_crowd(root / f"crowd-{writers}", writers, readers=writers, collectors=1, changes=changes)
    return f"{writers} writers, {writers} readers, 1 collector", 1, writers * changes, "all present"


def full_disk(root: Path) -> Row:
    """A file system of 3 MB that fills up (root only)."""
    mount = root / "full"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], check=True)

    def fill() -> list[int]:
        store = MemoryStore.create(mount / "store", SMALL)
        stored = refused = 0
        for first in range(0, 100_000, 500):
            try:
                with store.transaction("fill") as transaction:
                    transaction.upsert(make_records(first, 500))
                stored += 500
            except StoreError as error:
                refused += "no space left" in error.message
                if refused == 5:
                    break
        assert len(state_of(MemoryStore.open(mount / "store"))) >= stored
        return [stored, refused]

    try:
        stored, refused = in_child(fill)
    finally:
        subprocess.run(["umount", mount], check=False)
    return "disk full", refused, stored, "1 clear error each"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    parser.add_argument("--power-cuts", type=int, default=10)
    parser.add_argument("--crowds", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--changes", type=int, default=15, help="changes of each writer of a crowd")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp())
    privileged = os.geteuid() == 0
    jobs = [
        lambda: kills(root, arguments.kills, arguments.seed),
        lambda: modelled_power_cuts(root, arguments.power_cuts),
    ]
    jobs += [lambda n=n: crowd(root, n, arguments.changes) for n in arguments.crowds]
    if privileged:
        jobs += [lambda: real_power_cuts(root, arguments.power_cuts), lambda: full_disk(root)]
    print(f"{'fault':<48} {'times':>6} {'acknowledged':>13} {'seconds':>8}  found")
    try:
        for job in jobs:
            started = time.monotonic()
            name, times, acknowledged, found = job()
            seconds = time.monotonic() - started
            print(f"{name:<48} {times:>6} {acknowledged:>13} {seconds:>8.0f}  {found}", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
