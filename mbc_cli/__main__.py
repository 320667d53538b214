"""``python -m mbc_cli``: the same as ``mbc``, for launchers that take a module."""

from mbc_cli.cli.app import console

console()
