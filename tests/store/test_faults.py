"""Kills, power cuts, crowds, full disks and read-only folders. Large numbers: benchmarks/store_faults.py.

Workers are forked, and Icechunk's threads do not survive a fork, so each test runs in a process of its own
(``isolated``) that has not used Icechunk before.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def isolated(code: str, *arguments: object) -> str:
    """Run ``code`` in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_a_writer_is_killed(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.support.store import Faults
faults = Faults(Path(sys.argv[1]), seed=1)
kills = 0
while kills < 20 or faults.acknowledged <= 20:  # a busy machine does little between kills
    faults.check(faults.run_until_killed(faults.chance.uniform(0.05, 0.6)))
    kills += 1
print(faults.acknowledged)
"""
    assert int(isolated(code, tmp_path / "store")) > 20


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_power_goes(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.support.store import Faults, PowerCutModel
root = Path(sys.argv[1])
model = PowerCutModel(root, root.with_suffix(".durable"))
faults = Faults(root, seed=2, wrap=model.install)
model.copy()
cuts = 0
while cuts < 12 or faults.acknowledged <= 3:
    cuts += 1
    allowed = faults.run_until_killed(faults.chance.uniform(0.1, 1.0))
    model.cut(faults.chance)
    faults.check(allowed)
    model.copy()
print(faults.acknowledged)
"""
    assert int(isolated(code, tmp_path / "store")) > 3


@pytest.mark.slow
def test_writers_readers_and_collectors_do_not_disturb_each_other(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.support.store import run_crowd
print(len(run_crowd(Path(sys.argv[1]), writers=3, readers=2, collectors=1, changes=12)))
"""
    assert int(isolated(code, tmp_path / "store")) > 0


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_changes_nothing(tmp_path: Path) -> None:
    code = """
import resource, sys
from mbc_store import MemoryStore
from mbc_store.errors import StoreFull
from tests.support.store import SMALL, make_record, make_records, state_of
store = MemoryStore.create(sys.argv[1], SMALL)
with store.transaction("load") as transaction:
    transaction.upsert(make_records(0, 5))
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, unlimited[1]))
try:
    with store.transaction("too much") as transaction:
        transaction.upsert(make_records(5, 3000))
except StoreFull as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
assert len(state_of(MemoryStore.open(sys.argv[1]))) == 5
with store.transaction("now") as transaction:
    transaction.upsert([make_record("x", 1)])
assert len(state_of(MemoryStore.open(sys.argv[1]))) == 6
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert "no space left" in isolated(code, tmp_path / "store")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_read_only_folder_can_be_read_and_says_why_it_cannot_be_written() -> None:
    code = """
import os, sys
from mbc_store import MemoryStore
from mbc_store.errors import StoreReadOnly
from tests.support.store import SMALL, make_record, make_records, state_of
store = MemoryStore.create(sys.argv[1], SMALL)
with store.transaction("load") as transaction:
    transaction.upsert(make_records(0, 5))
state_of(store)
for folder, _, _ in os.walk(sys.argv[1]):
    os.chmod(folder, 0o555)
if os.geteuid() == 0:
    os.setuid(65534)
store = MemoryStore.open(sys.argv[1])
assert len(state_of(store)) == 5
for attempt in (lambda: write(store), store.compact, store.gc):
    try:
        attempt()
    except StoreReadOnly as error:
        print(error)
""".replace(
        "import os, sys\n",
        """import os, sys
def write(store):
    with store.transaction("no") as transaction:
        transaction.upsert([make_record("x", 1)])
""",
    )
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        assert isolated(code, folder / "store").count("cannot be written") == 3
    finally:
        for path, _, _ in os.walk(folder):
            Path(path).chmod(0o755)
        shutil.rmtree(folder)
