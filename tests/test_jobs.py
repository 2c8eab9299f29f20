from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hfcviz import jobs
from hfcviz.jobs import Cancelled, Job, submit
from hfcviz.settings import InputError, Progress

SOON = 10
ROOT = Path(__file__).resolve().parent.parent


class Gate:
    """Work that stands still where a test wants it: it says when it has begun, and goes on when it is let."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self, progress: Progress) -> str:
        self.begun.set()
        assert self.open.wait(SOON)
        progress(0.5, "through the gate")
        return "through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def ended(job: Job) -> Job:
    assert job.wait(SOON), f"{job.name} is still {job.state}"
    return job


def raises(error: BaseException) -> Callable[[Progress], None]:
    def work(progress: Progress) -> None:
        raise error

    return work


def test_a_job_gives_its_result() -> None:
    job = ended(submit(lambda progress: 6 * 7, "multiply"))
    assert (job.state, job.result, job.error, job.fraction, job.finished) == ("done", 42, None, 1.0, True)


def test_a_job_waits_runs_and_ends(gate: Gate) -> None:
    first, second = submit(gate, "first"), submit(lambda progress: None, "second")
    assert gate.begun.wait(SOON)
    assert (first.state, second.state, first.finished, first.fraction) == ("running", "queued", False, 0.0)
    assert not second.wait(0)
    gate.open.set()
    assert (ended(first).state, ended(second).state, first.what) == ("done", "done", "through the gate")


def test_jobs_run_one_at_a_time_in_order_on_one_thread_that_does_not_hold_up_the_exit() -> None:
    order, running, most = [], [0], [0]

    def work(name: int) -> Callable[[Progress], threading.Thread]:
        def run(progress: Progress) -> threading.Thread:
            running[0] += 1
            most[0] = max(most[0], running[0])
            time.sleep(0.005)
            order.append(name)
            running[0] -= 1
            return threading.current_thread()

        return run

    queued = [submit(work(i), f"job {i}") for i in range(12)]
    threads = {ended(job).result for job in queued}
    assert (order, most[0], len(threads)) == (list(range(12)), 1, 1)
    assert threads.pop().daemon
    assert len({job.id for job in queued}) == 12


def test_submitting_from_many_threads_at_once_still_makes_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_worker", None)
    monkeypatch.setattr(jobs, "_queue", jobs.SimpleQueue())
    together, found = threading.Barrier(8), []

    def ask() -> None:
        together.wait(SOON)
        found.append(submit(lambda progress: threading.current_thread(), "who"))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len({ended(job).result for job in found}) == 1


def test_what_a_person_gave_wrong_is_told_in_its_own_words(caplog: pytest.LogCaptureFixture) -> None:
    job = ended(submit(raises(InputError("eps must be positive; got -1.")), "attack"))
    assert (job.state, job.error, job.result) == ("failed", "eps must be positive; got -1.", None)
    assert caplog.records == []


UNEXPECTED = {
    "with a message": (KeyError("conv1"), "Attack failed unexpectedly: KeyError: 'conv1'"),
    "without one": (RuntimeError(), "Attack failed unexpectedly: RuntimeError."),
    "of many lines": (RuntimeError("no memory\n  at line 3"), "Attack failed unexpectedly: RuntimeError: no memory"),
    "that ends a program": (SystemExit(3), "Attack failed unexpectedly: SystemExit: 3"),
}


@pytest.mark.parametrize(("error", "sentence"), UNEXPECTED.values(), ids=UNEXPECTED)
def test_an_unexpected_error_is_one_sentence_with_its_traceback_in_the_log(
    error: BaseException, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "hfcviz"):
        job = ended(submit(raises(error), "Attack"))
    assert (job.state, job.error) == ("failed", sentence)
    (record,) = caplog.records
    assert record.name == "hfcviz"
    assert record.exc_info
    assert record.exc_info[1] is error
    assert ended(submit(lambda progress: "alive", "next")).result == "alive"


def test_cancelling_a_running_job_stops_it_at_its_next_report(gate: Gate) -> None:
    reached = []

    def work(progress: Progress) -> None:
        gate(progress)
        reached.append("after the report")

    job = submit(work, "long")
    assert gate.begun.wait(SOON)
    job.cancel()
    assert job.state == "running"
    gate.open.set()
    assert (ended(job).state, job.result, job.error, reached) == ("cancelled", None, None, [])


def test_cancelling_a_queued_job_ends_it_at_once_and_it_never_runs(gate: Gate) -> None:
    ran = []
    submit(gate, "first")
    second, third = submit(lambda progress: ran.append(2), "second"), submit(lambda progress: ran.append(3), "third")
    second.cancel()
    assert (second.state, second.finished, third.state) == ("cancelled", True, "queued")
    gate.open.set()
    ended(third)
    assert (ran, second.state) == ([3], "cancelled")


def test_a_job_cancelled_after_its_last_report_does_not_become_done(gate: Gate) -> None:
    def work(progress: Progress) -> str:
        gate.begun.set()
        assert gate.open.wait(SOON)
        return "late"

    job = submit(work, "late")
    assert gate.begun.wait(SOON)
    job.cancel()
    gate.open.set()
    assert (ended(job).state, job.result) == ("cancelled", None)


def test_cancelling_twice_or_after_the_end_changes_nothing() -> None:
    job = ended(submit(lambda progress: 1, "quick"))
    job.cancel()
    job.cancel()
    assert (job.state, job.result) == ("done", 1)


def test_work_may_cancel_itself() -> None:
    assert ended(submit(raises(Cancelled()), "gave up")).state == "cancelled"


def test_reports_are_kept_within_0_and_1() -> None:
    seen = []

    def work(progress: Progress) -> None:
        for fraction in (-0.5, 0.25, 7):
            progress(fraction, f"at {fraction}")
            seen.append((job.fraction, job.what))

    ready = threading.Event()
    job = submit(lambda progress: (ready.wait(SOON), work(progress)), "reports")
    ready.set()
    assert ended(job).state == "done"
    assert seen == [(0.0, "at -0.5"), (0.25, "at 0.25"), (1.0, "at 7")]


def test_seconds_left_follow_from_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen, ready = [100.0], [], threading.Event()
    monkeypatch.setattr(jobs, "monotonic", lambda: now[0])

    def work(progress: Progress) -> None:
        assert ready.wait(SOON)
        seen.append(job.eta_seconds)
        now[0] = 110.0
        progress(0.25, "a quarter in ten seconds")
        seen.append(job.eta_seconds)
        now[0] = 114.0
        seen.append(job.eta_seconds)
        now[0] = 999.0
        seen.append(job.eta_seconds)
        progress(0, "nothing yet")
        seen.append(job.eta_seconds)

    job = submit(work, "paced")
    ready.set()
    ended(job)
    assert seen == [None, pytest.approx(30), pytest.approx(26), 0.0, None]
    assert job.eta_seconds is None


def test_a_forgotten_job_leaves_nothing_behind() -> None:
    class Large:
        pass

    def work(progress: Progress) -> Large:
        return Large()

    job = ended(submit(work, "large"))
    result, closure = weakref.ref(job.result), weakref.ref(work)
    del work
    deadline = time.monotonic() + SOON
    # The worker lets go just after it has told that the job ended.
    while closure() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert closure() is None
    assert result() is not None
    del job
    gc.collect()
    assert result() is None


def test_jobs_need_neither_streamlit_nor_torch() -> None:
    line = "import sys, hfcviz.jobs; sys.exit('streamlit' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", line], cwd=ROOT).returncode == 0


def test_a_running_job_is_stopped_before_the_process_ends() -> None:
    code = """
import threading, time
from hfcviz.jobs import submit
begun = threading.Event()
def work(progress):
    begun.set()
    try:
        while True:
            progress(0.5, "on and on")
            time.sleep(0.01)
    finally:
        print("left in order")
submit(work, "endless")
submit(lambda progress: print("never begun"), "queued behind it")
begun.wait()
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "left in order\n", "")


def test_a_job_says_that_it_is_stopping_until_its_step_has_ended():
    started, go_on = threading.Event(), threading.Event()

    def work(progress):
        started.set()
        go_on.wait(30)
        progress(0.5, "half")

    job = jobs.submit(work, "slow")
    assert started.wait(30) and not job.stopping
    job.cancel()
    assert job.stopping and job.state == "running"
    go_on.set()
    assert job.wait(30) and job.state == "cancelled"
