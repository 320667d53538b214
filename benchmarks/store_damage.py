"""Damaged and hostile stores: each is read right, refused in one line, or repaired; nothing else happens.

    python benchmarks/store_damage.py --corruptions 200 --hostile 100

Corruptions hit any file of a store with a history: a flipped bit, a cut, an empty or a missing file. Then
verify must be right (sound means that everything reads as it was written), and repair must leave a sound
store in which nothing forgotten is back and no document has other contents. Hostile stores have headers,
arrays and folders drawn from a grammar of what a stranger could put there; the error must be the store's own,
and nothing outside may change.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from tests.support.store import state_of
from tests.support.store.damage import corruption, hostile, store_with_history


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corruptions", type=int, default=30)
    parser.add_argument("--hostile", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound"
        expected = state_of(store_with_history(sound))
        for name, count in (("corruptions", arguments.corruptions), ("hostile", arguments.hostile)):
            outcomes: Counter[str] = Counter()
            for trial in range(count):
                chance, root = (
                    random.Random(f"{arguments.seed}-{name}-{trial}"),
                    Path(folder) / f"{name}-{trial}",
                )
                try:
                    if name == "corruptions":
                        outcomes[corruption(sound, root, expected, chance)] += 1
                    else:
                        outcomes[hostile(sound, root, chance)] += 1
                except Exception as error:
                    wrong += 1
                    outcomes["WRONG"] += 1
                    print(f"{name} {trial}: {type(error).__name__}: {error}"[:300])
                shutil.rmtree(root, ignore_errors=True)
            print(f"{name}: {count}; " + ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common()))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
