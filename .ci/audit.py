"""Asks the package index for known vulnerabilities of the pinned versions; run by ``make audit``.

Ends with 1 if there are any. An index that cannot be asked, or knows no such package, is said and no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).with_name("constraints.txt")


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip"]
    asked = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    if not asked.stdout:
        print(f"pip-audit: not run, {asked.stderr.strip().splitlines()[-1]}")
        return 0
    packages = json.loads(asked.stdout)["dependencies"]
    unknown = [package for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "none"
            print(f"{package['name']} {package['version']}: {found['id']}, mended in: {mended}")
    known = len(packages) - len(unknown)
    print(f"pip-audit: {known} of {len(packages)} packages looked up, {len(vulnerable)} vulnerable")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())
