"""Ray Data, as labelling and prediction use it: rows in, read on the way, worked on by actors, results out.

On a laptop Ray is started for the run and ended with it. Where RAY_ADDRESS names a cluster (inside `ray job
submit` or `ray start` it does), that is used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from leadline import errors
from leadline.errors import LeadlineError, UsageError, extra

Row = dict[str, Any]
ATTEMPTS = 3
QUIET = {  # Ray's own settings, where the user has none
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_worker_niceness": "0",  # as the plain engine: 15 starves on a busy machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its default to be; without it Ray warns
}
FAULT, CLASS = "fault", "fault_class"  # of a row whose work ended in an error of ours


def each(
    rows: Sequence[Row],
    worker: Callable[..., Callable[[Row], Row]],
    options: Mapping[str, Any],
    *,
    read: Callable[[Row], Row],
    workers: int | None = None,
    device: str = "auto",
) -> Generator[Row]:
    """What actors, made as worker(**options), return for rows, in any order.

    read: is called with each row before, somewhere on the cluster. workers: actors; None: one per GPU, or
    without any one per processor but one. A row whose actor dies is worked on again.

    Raises UsageError where Ray is not installed or has no place for so many, the errors of ours that a
    worker ends in, LeadlineError for all others.
    """
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        gpus = 0 if device.startswith("cpu") else int(ray.cluster_resources().get("GPU", 0))
        count = _count(workers, gpus, int(ray.cluster_resources().get("CPU", 1)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data = ray.data.from_items(list(rows), override_num_blocks=len(rows))
        reading = ray.data.TaskPoolStrategy(size=count)
        data = data.map(read, num_cpus=0, compute=reading)  # no work for a processor
        data = data.map(
            _Safely,
            fn_constructor_args=(worker, dict(options)),
            compute=ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=2),
            num_cpus=1,
            num_gpus=1 if gpus else 0,
        )
        for row in data.iter_rows():
            yield _checked(row)
    except ray.exceptions.RayError as error:
        words = str(error).strip().splitlines()[-1][:300]
        raise LeadlineError(f"Ray gave up: {words}: what is done is kept, run again to go on") from error
    finally:
        if started:
            ray.shutdown()


class _Safely:
    """A worker whose errors travel as rows: Ray would wrap them into pages, and end the run before others."""

    def __init__(self, worker: Callable[..., Callable[[Row], Row]], options: Mapping[str, Any]) -> None:
        self.work = worker(**options)

    def __call__(self, row: Row) -> Row:
        try:
            return self.work(row) | {FAULT: "", CLASS: ""}
        except LeadlineError as error:
            return {FAULT: str(error), CLASS: type(error).__name__}


def _checked(row: Row) -> Row:
    if row[FAULT]:
        kind: type[LeadlineError] = getattr(errors, row[CLASS], LeadlineError)
        raise kind(row[FAULT])
    return row


def _count(workers: int | None, gpus: int, cpus: int) -> int:
    places = gpus or cpus
    if workers is None:
        return gpus or max(1, cpus - 1)
    if not 1 <= workers <= places:
        what = "GPUs" if gpus else "processors"
        raise UsageError(f"{workers} workers are asked for, the cluster has {places} {what}: ask for fewer")
    return workers


def _start(ray: Any) -> None:
    """Ray gives its own processes half a minute, which a busy machine may need twice."""
    for attempt in range(ATTEMPTS):
        try:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
            return
        except Exception as error:  # Ray raises all kinds
            ray.shutdown()
            words = " ".join(str(error).split())[:200]
            if "timed out during startup" not in words or attempt == ATTEMPTS - 1:
                raise LeadlineError(
                    f"Ray cannot be started or reached: {words}: try later, or engine plain"
                ) from error


def check() -> None:
    """UsageError without Ray, for callers that write something before they start."""
    _ray()


def _ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"engine ray needs Ray, which is not installed: {extra('ray')}") from error
    return ray
