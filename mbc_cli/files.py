"""The one way to write a file whose loss would hurt: whole or untouched, whatever stops the process."""

from mbc_store.durable import write_file

__all__ = ["write_file"]
