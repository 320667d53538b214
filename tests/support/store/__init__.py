"""Records, reference behaviour and faults, for tests and benchmarks of the store."""

from tests.support.store.crowd import run_crowd
from tests.support.store.kills import Faults, in_child
from tests.support.store.operations import (
    SMALL,
    Operation,
    State,
    apply,
    make_record,
    make_records,
    perform,
    random_operation,
    state_of,
)
from tests.support.store.power import PowerCutModel

__all__ = [
    "SMALL",
    "Faults",
    "Operation",
    "PowerCutModel",
    "State",
    "apply",
    "in_child",
    "make_record",
    "make_records",
    "perform",
    "random_operation",
    "run_crowd",
    "state_of",
]
