"""Ray: started on this machine or joined, kept quiet, and left again."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from mbc_cli.errors import ClusterError, MissingPackageError, UsageError, install_hint
from mbc_cli.reporting import note

LOCAL = "local"
"""The address of a Ray of our own on this machine."""
_SECONDS_TO_ANSWER = 10
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of the part in C++, which writes to stderr
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what it warns of otherwise
}


def require_ray(address: str = LOCAL) -> None:
    """Check what can be known at once: Ray itself would ask a cluster that is not there for minutes.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: nobody listens at ``address``.
    """
    if not all(map(find_spec, ("ray", "pyarrow", "pandas"))):
        raise MissingPackageError("--ray needs Ray, which is not installed", install_hint("ray"))
    host, colon, port = address.rpartition(":")
    if colon:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER):
                pass
        except (OSError, OverflowError) as error:
            raise _unreachable(address, error) from error


@contextmanager
def running(address: str, workers: int | None = None) -> Iterator[None]:
    """Ray, while the block runs.

    Args:
        address: "local" starts one that ends with the block; else what ``ray.init`` accepts: "auto" or
            "host:port".
        workers: processes that a local one has room for beside those that read; None is one per CPU.

    Raises:
        MissingPackageError: it is not installed.
        UsageError: this process has one already.
        ClusterError: it cannot be started or reached.
    """
    require_ray(address)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        raise UsageError("Ray is in use in this process already", "call ray.shutdown() first")
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        # On loopback: nobody else on the network may give it work.
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        if workers is not None:
            options["num_cpus"] = max(workers, os.cpu_count() or 1)
    with _handlers_kept(), _nothing_on_stderr():
        try:
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
            raise _unreachable(address, error) from error
    import ray.data

    _quieten(ray.data)
    try:
        yield
    finally:
        ray.shutdown()


def is_this_machine_alone() -> bool:
    """Whether all processes of the cluster run where we do."""
    import ray

    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return nodes == {ray.get_runtime_context().get_node_id()}


def gpus() -> int:
    """How many GPUs the cluster has."""
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def cpus() -> int:
    """How many CPUs the cluster has, at least 1."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn what a task raised into just that, and what Ray raised into ClusterError."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as failure:
        raise failure.cause from failure
    except RayError as failure:
        reason = str(failure).strip().partition("\n")[0]
        raise ClusterError(
            f"Ray gave up: {reason}", "what was committed stays; run it again to go on"
        ) from failure


def _quieten(data: Any) -> None:
    """No bars and no lines of Ray Data; and the order of what goes in is that of what comes out."""
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ray prints to stdout what goes on in the cluster, such as the death of a worker, without a switch.
    printing: Any = import_module("ray._private.worker")
    printing.print_to_stdstream = _note


def _note(data: Mapping[str, Any], **_: Any) -> None:
    """Tell whoever listens what Ray would print; of each message its first sentence."""
    for line in data.get("lines", ()):
        note(f"Ray: {str(line).partition('. ')[0].strip()}")


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """What Ray's part in C++ says of its start goes nowhere: what matters is raised."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with Path(os.devnull).open("wb") as nowhere:
        ours = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(ours, 2)
            os.close(ours)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts a handler of its own where ours ends a run with all that is committed."""
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if current_thread() is main_thread() and ours is not None:
            signal.signal(signal.SIGTERM, ours)


def _unreachable(address: str, error: BaseException) -> ClusterError:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if address == LOCAL:
        return ClusterError(f"Ray cannot be started: {reason}", "see /tmp/ray/session_latest/logs")
    return ClusterError(
        f"there is no Ray cluster at {address!r}: {reason}",
        "give auto or host:port, or --ray alone for one on this machine",
    )
