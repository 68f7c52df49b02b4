"""What a run was waiting for, decided from what was seen of its threads."""

import pytest

from supervisor.pool.farends import address_of
from supervisor.pool.scene import Scene, Thread
from supervisor.pool.stall import MOST_PEERS, Kind, stall_of
from supervisor.pool.syscalls import Call

MAIN = 100
RUNS = Thread(MAIN, "R")
LOCK = Thread(MAIN, "S", call=Call("futex"))
SLEEP = Thread(MAIN, "S", call=Call("clock_nanosleep", is_timed=True))
RECEIVES = Thread(MAIN, "S", call=Call("recvfrom", (5,)), on=("socket:[7]",))
POLLS = Thread(MAIN, "S", call=Call("poll", (5,), is_timed=True), on=("socket:[7]",))
WAITS = Thread(MAIN, "S", call=Call("wait4"))
LOOP = Thread(MAIN, "S", call=Call("epoll_wait", (9,)), on=("socket:[8]",))
READS_PIPE = Thread(MAIN, "S", call=Call("read", (3,)), on=("pipe:[4]",))
DISK = Thread(MAIN, "D")
PEERS = (("socket:[7]", "10.0.0.7:443"),)


def scene(*threads, at=1.0, peers=PEERS, has_children=False):
    numbered = [Thread(MAIN + n, t.state, t.ran_s, t.call, t.on) for n, t in enumerate(threads)]
    return Scene(at, tuple(numbered), len(numbered), peers, has_children)


def kind_of(*threads, **more):
    return stall_of(scene(*threads, **more), None).kind


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        (SLEEP, Kind.SLEEPING),
        (RECEIVES, Kind.WAITING_ON_SOCKET),
        (POLLS, Kind.WAITING_ON_SOCKET),
        (WAITS, Kind.WAITING_ON_CHILD),
        (LOCK, Kind.DEADLOCKED),
        (LOOP, Kind.DEADLOCKED),
        (DISK, Kind.UNKNOWN),
        (READS_PIPE, Kind.UNKNOWN),
    ],
)
def test_what_the_crews_thread_waits_for_counts(own, kind):
    assert kind_of(own) is kind
    # Threads that wait for work say nothing.
    assert kind_of(own, LOCK, LOOP) is kind


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (SLEEP, Kind.SLEEPING),
        (RECEIVES, Kind.WAITING_ON_SOCKET),
        (WAITS, Kind.WAITING_ON_CHILD),
        (DISK, Kind.UNKNOWN),
    ],
)
@pytest.mark.parametrize("own", [LOCK, LOOP])
def test_one_that_waits_for_other_threads_is_told_by_what_they_do(own, other, kind):
    assert kind_of(own, LOCK, other) is kind


def test_a_program_that_talks_through_a_pipe_is_waited_for():
    assert kind_of(READS_PIPE, has_children=True) is Kind.WAITING_ON_CHILD


def test_a_socket_that_leads_nowhere_is_told_as_one():
    stall = stall_of(scene(RECEIVES, peers=()), None)

    assert (stall.kind, stall.peers) == (Kind.WAITING_ON_SOCKET, ("local socket",))


def test_a_far_end_that_is_not_known_is_left_out():
    stall = stall_of(scene(RECEIVES, peers=(("socket:[7]", ""),)), None)

    assert (stall.kind, stall.peers) == (Kind.WAITING_ON_SOCKET, ())


def test_a_watcher_that_looks_now_and_then_does_not_hide_a_deadlock():
    monitor = Thread(MAIN, "S", call=Call("futex", is_timed=True))

    assert kind_of(LOCK, monitor) is Kind.DEADLOCKED
    assert kind_of(monitor) is Kind.SLEEPING


def test_what_runs_at_both_looks_burns_cpu_also_when_it_gets_little():
    stall = stall_of(scene(LOCK, RUNS), scene(LOCK, RUNS, at=1.01))

    assert (stall.kind, stall.cores, stall.threads) == (Kind.BURNING_CPU, 0.0, 2)


def test_what_ran_for_a_moment_does_not():
    assert stall_of(scene(RUNS), scene(SLEEP, at=1.01)).kind is Kind.UNKNOWN


def test_half_a_core_is_burning_whatever_was_seen():
    before, after = Thread(MAIN, "S", 7.0, Call("futex")), Thread(MAIN, "S", 7.006)

    stall = stall_of(scene(before), scene(after, at=1.01))

    assert (stall.kind, stall.cores) == (Kind.BURNING_CPU, 0.6)


def test_threads_that_came_later_use_nothing_from_before():
    late = Thread(MAIN, "S", 1000.0)

    assert stall_of(scene(SLEEP), scene(SLEEP, late, at=1.01)).kind is Kind.SLEEPING


def test_without_a_look_nothing_is_known():
    assert stall_of(None, None).kind is Kind.UNKNOWN
    assert stall_of(Scene(1.0), Scene(1.1)).kind is Kind.UNKNOWN


def test_peers_are_told_once_and_not_without_end():
    peers = tuple((f"socket:[{n}]", f"10.0.0.{n % 20}:80") for n in range(100))
    thread = Thread(MAIN, "S", call=Call("poll"), on=tuple(name for name, _ in peers))

    found = stall_of(scene(thread, peers=peers), None).peers

    assert len(found) == MOST_PEERS == len(set(found))


@pytest.mark.parametrize(
    ("told", "address"),
    [
        (b"0100007F:1F90", "127.0.0.1:8080"),
        (b"0000000000000000FFFF00000100007F:0050", "127.0.0.1:80"),
        (b"00000000000000000000000001000000:01BB", "[::1]:443"),
        (b"", ""),
        (b"xyz:1", ""),
        (b"0100:1", ""),
        (b"0100007F:", ""),
    ],
)
def test_addresses_are_read_as_the_kernel_writes_them(told, address):
    assert address_of(told) == address
