"""Long work on one worker thread, with progress and cancelling.

One worker for the whole process, because hooks, dropout switches and random seeds are state that work shares.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from time import monotonic
from typing import Any, Generic, Literal, TypeVar

from hfcviz.settings import InputError, Progress

T = TypeVar("T")
State = Literal["queued", "running", "done", "failed", "cancelled"]

_log = logging.getLogger("hfcviz")
_ids = count(1)
_queue: SimpleQueue[tuple[Job[Any], Callable[[Progress], Any]]] = SimpleQueue()
_worker: threading.Thread | None = None
_current: Job[Any] | None = None
_leaving = threading.Event()
_worker_lock = threading.Lock()


class Cancelled(Exception):
    """Raised by a job's progress callback once somebody has cancelled the job."""


class Job(Generic[T]):
    """One piece of long work, readable from any thread. Nothing but the job holds on to its result."""

    def __init__(self, name: str) -> None:
        self.id = next(_ids)
        self.name = name
        self.state: State = "queued"
        self.result: T | None = None
        self.error: str | None = None
        """One sentence for people when the state is `failed`."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._finished = threading.Event()
        self._started = 0.0
        self._progress = (0.0, "", 0.0)
        """Fraction, what, and the time of that report: one tuple, so that a reader never sees half of a report."""

    @property
    def fraction(self) -> float:
        return self._progress[0]

    @property
    def what(self) -> str:
        return self._progress[1]

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left if work goes on at its mean pace so far; None before the first report and after the end."""
        fraction, _, reported = self._progress
        if self.state != "running" or fraction <= 0:
            return None
        left = (reported - self._started) * (1 - fraction) / fraction
        return max(0.0, left - (monotonic() - reported))

    @property
    def stopping(self) -> bool:
        """Whether somebody has cancelled it; it may still be in its present step."""
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False when `timeout` seconds were too few."""
        return self._finished.wait(timeout)

    def cancel(self) -> None:
        """Drop the job if it is queued, else stop it at its next report. A cancelled job never becomes done."""
        with self._lock:
            self._stop.set()
            if self.state == "queued":
                self._end("cancelled")

    def _report(self, fraction: float, what: str) -> None:
        if self._stop.is_set():
            raise Cancelled
        self._progress = (min(max(float(fraction), 0.0), 1.0), what, monotonic())

    def _run(self, work: Callable[[Progress], T]) -> None:
        with self._lock:
            if self.state != "queued":
                return
            self._started = monotonic()
            self.state = "running"
        result: T | None = None
        error: str | None = None
        state: State = "done"
        try:
            result = work(self._report)
        except Cancelled:
            state = "cancelled"
        except InputError as refused:
            error, state = str(refused), "failed"
        except BaseException as unexpected:  # even SystemExit: the worker has to outlive whatever a job does
            _log.exception("%s failed", self.name)
            error, state = _sentence(self.name, unexpected), "failed"
        with self._lock:
            if self._stop.is_set():
                state = "cancelled"
            if state == "done":
                self.result = result
                self._progress = (1.0, self.what, monotonic())
            elif state == "failed":
                self.error = error
            self._end(state)

    def _end(self, state: State) -> None:
        # Last, so that whoever sees the state also sees what belongs to it.
        self.state = state
        self._finished.set()


def _leave() -> None:
    """At the end of the process: a worker that is torn down within PyTorch takes the whole process down with an abort."""
    _leaving.set()
    job = _current
    if job is not None:
        job.cancel()
        job.wait(10)


atexit.register(_leave)


def idle() -> bool:
    """Whether nothing runs or waits."""
    return _current is None and _queue.empty()


def submit(work: Callable[[Progress], T], name: str) -> Job[T]:
    """Queue `work(progress)`; jobs run one at a time, in the order they were submitted."""
    global _worker
    job: Job[T] = Job(name)
    _queue.put((job, work))
    with _worker_lock:
        if _worker is None:
            _worker = threading.Thread(target=_serve, name="hfcviz jobs", daemon=True)
            _worker.start()
    return job


def _serve() -> None:
    while True:
        _run_next()


def _run_next() -> None:
    # A function of its own: its locals go when it returns, so the idle worker keeps no job and no result alive.
    global _current
    job, work = _queue.get()
    _current = job
    if _leaving.is_set():
        job.cancel()
    job._run(work)
    _current = None


def _sentence(name: str, error: BaseException) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"{name} failed unexpectedly: {type(error).__name__}" + (f": {first_line}" if first_line else ".")
