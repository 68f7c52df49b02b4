"""Which workers are replaced although they work."""

import random

import pytest

from supervisor.pool.recycling import (
    JITTER,
    MOST_FDS_MORE,
    MOST_STANDING_THREADS,
    REASONS,
    Facts,
    Limits,
    Recycling,
    due,
    most_runs,
)

LIMITS = Limits(max_runs=100, max_age_s=3600)
MIB = 2**20


@pytest.mark.parametrize(
    ("facts", "because"),
    [
        (Facts(runs=99, age_s=3599), ""),
        (Facts(runs=100, age_s=1), "max_runs"),
        (Facts(runs=1, age_s=3600), "max_age"),
        (Facts(runs=1, age_s=1, children=1), "left_processes"),
        (Facts(runs=1, age_s=1, threads=1), "left_threads"),
        (Facts(runs=1, age_s=1, standing=MOST_STANDING_THREADS), ""),
        (Facts(runs=1, age_s=1, standing=MOST_STANDING_THREADS + 1), "left_threads"),
        (Facts(runs=1, age_s=1, more_fds=MOST_FDS_MORE), ""),
        (Facts(runs=1, age_s=1, more_fds=MOST_FDS_MORE + 1), "left_descriptors"),
        (Facts(runs=1, age_s=1, rss_bytes=9 * MIB, soft_bytes=9 * MIB), ""),
        (Facts(runs=1, age_s=1, rss_bytes=9 * MIB + 1, soft_bytes=9 * MIB), "memory_soft"),
        (Facts(runs=1, age_s=1, rss_bytes=9 * MIB), ""),
    ],
)
def test_a_worker_goes_for_what_it_has_become(facts, because):
    assert due(facts, LIMITS, 1.0) == because
    assert because == "" or because in REASONS


def test_one_that_has_run_nothing_stays_whatever_its_age():
    assert due(Facts(runs=0, age_s=10**6), LIMITS, 1.0) == ""


def test_without_limits_a_worker_stays_for_ever():
    assert due(Facts(runs=10**6, age_s=10**9), Limits(), 1.0) == ""


@pytest.mark.parametrize("stretch", [1 - JITTER, 1.0, 1 + JITTER])
def test_one_run_a_worker_is_one_whatever_the_stretch(stretch):
    limits = Limits(max_runs=1)

    assert most_runs(limits, stretch) == 1
    assert due(Facts(runs=1, age_s=0), limits, stretch) == "max_runs"


def test_workers_that_began_together_do_not_go_together():
    drawn = Recycling(LIMITS, random.Random(7).uniform)
    stretches = [drawn.draw() for _ in range(500)]
    most = [most_runs(LIMITS, stretch) for stretch in stretches]

    assert min(most) == 90
    assert max(most) == 110
    assert len(set(most)) == 21
    assert all(1 - JITTER <= stretch <= 1 + JITTER for stretch in stretches)
