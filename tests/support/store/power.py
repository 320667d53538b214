"""A model of power cuts that needs no privileges. benchmarks/store_faults.py cuts real file systems."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path


class PowerCutModel:
    """What a disk may hold after a power cut, by the file system's promises.

    Everything written before the last sync is there. Of what came after, each file on its own may be there
    in full, cut short, empty or not at all; a file replaced by a rename is the old one or any of these;
    the head is synced before its rename, so it is the old or the new one; a deleted file may be there.
    """

    def __init__(self, root: Path, durable: Path) -> None:
        self.root = root
        self.durable = durable

    def install(self) -> None:
        """From now on, in this process, every sync also copies the tree to ``durable``, and every rename of
        a synced file that file."""
        import mbc_store.durable as files
        import mbc_store.location as location

        real, publish = location.sync_file_system, files.publish  # type: ignore[attr-defined]

        def publish_and_copy(partial: Path, path: Path) -> None:
            publish(partial, path)
            target = self.durable / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = target.with_name(f"{target.name}#1")
            copy.unlink(missing_ok=True)
            os.link(path, copy)
            copy.replace(target)

        files.publish = publish_and_copy

        def sync_and_copy(path: Path) -> None:
            real(path)
            self.copy()

        location.sync_file_system = sync_and_copy  # type: ignore[attr-defined]

    def copy(self) -> None:
        """Bring ``durable`` up to date, atomically enough to be killed at any time."""
        fresh = self.durable.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        # Hard links are enough: Icechunk never writes into an existing file.
        shutil.copytree(self.root, fresh, copy_function=os.link)
        old = self.durable.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.durable.exists():
            self.durable.rename(old)
        fresh.rename(self.durable)

    def cut(self, chance: random.Random) -> None:
        """Replace the tree by one that a power cut now could leave."""
        durable = self.durable if self.durable.exists() else self.durable.with_suffix(".old")
        result = self.root.with_suffix(".cut")
        shutil.rmtree(result, ignore_errors=True)
        shutil.copytree(durable, result)
        before = {p.relative_to(durable): p for p in durable.rglob("*") if p.is_file()}
        now = {p.relative_to(self.root): p for p in self.root.rglob("*") if p.is_file()}
        synced = {path.stat().st_ino for path in before.values()}
        for name, path in now.items():
            target = result / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name not in before:
                data = path.read_bytes()
                renamed = path.stat().st_ino in synced
                fate = chance.choice(("full", "absent") if renamed else ("full", "short", "empty", "absent"))
                if fate != "absent":
                    kept = {"full": len(data), "short": len(data) // 2, "empty": 0}[fate]
                    target.write_bytes(data[:kept])
            elif path.stat().st_ino != before[name].stat().st_ino:
                fates = ("old", "full") if name.name == "ref.json" else ("old", "full", "short", "empty")
                fate = chance.choice(fates)
                if fate != "old":
                    data = path.read_bytes()
                    target.write_bytes(data[: {"full": len(data), "short": len(data) // 2, "empty": 0}[fate]])
        for name in before.keys() - now.keys():
            if chance.random() < 0.5:
                (result / name).unlink()
        shutil.rmtree(self.root)
        result.rename(self.root)
