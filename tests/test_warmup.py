"""The warm-up: left out where it is not wanted, behind every run, and without it a run is the same."""

import threading
import time

from hfcviz import jobs
from hfcviz.bundle import open_bundle
from hfcviz.projections import PROJECTIONS
from hfcviz.ui import warmup


def test_it_is_left_out_where_it_is_not_wanted(monkeypatch):
    monkeypatch.setenv("HFCVIZ_WARM", "0")
    warmup.start.clear()
    assert warmup.start(open_bundle()) is None


def test_it_waits_while_a_job_runs(monkeypatch):
    monkeypatch.setattr(warmup, "PAUSE", 0.01)
    end, quiet = threading.Event(), []
    job = jobs.submit(lambda progress: end.wait(30), "long")
    while job.state != "running":
        time.sleep(0.01)
    assert not jobs.idle()
    waiting = threading.Thread(target=lambda: quiet.append(warmup._quiet()))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and not quiet
    end.set()
    waiting.join(10)
    assert quiet == [True] and jobs.idle()


def test_it_fits_each_slow_projection_on_next_to_nothing():
    seen = {method: warmup._projection(method)() for method in PROJECTIONS}
    assert {one.xy.shape for one in seen.values()} == {(120, 2)}
