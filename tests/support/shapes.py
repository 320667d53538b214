"""What compares the arguments and results of the model's functions with their signatures, while tests run."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# As mypy has it: an int is accepted where a float is.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
