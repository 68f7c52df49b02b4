"""P1, P6 and P7 under every order of events that Hypothesis can think of.

The scripts run on a real server. The model is small: which runs were accepted, and which of
them a stranger cut off before anybody could know of them.
"""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from supervisor.streams.keys import NORMAL
from supervisor.streams.wire import Rejected, parse
from tests.streams.conftest import LIMITS
from tests.support.delivery import Delivery
from tests.support.redis_world import ALL_STREAMS, GROUP, STREAMS

RUNS = st.sampled_from([f"r-{n}" for n in range(8)])
PLUGINS = st.sampled_from(["free", "one", "paused"])
SLOTS = st.sampled_from(range(4))
PRIORITIES = st.sampled_from(["high", "normal"])
ENDS = st.sampled_from(["completed", "failed", "crashed", "cancelled", "crash", "lost", "drained"])
DELAYS = st.sampled_from([0.0, 60.0])
HOSTILE = st.sampled_from(
    ["{", "[]", '{"plugin_run_id":7,"plugin_name":"one"}', '{"plugin_run_id":"' + "x" * 200 + '"}']
)
ONE_AT_A_TIME = '{"one":{"c":1}}'


class DeliveryMachine(RuleBasedStateMachine):
    """Publishers, four slots, a sweeper, and strangers who cut, acknowledge and destroy."""

    server = None

    def __init__(self):
        super().__init__()
        self.pool = Delivery(self.server)
        self.world = self.pool.world
        self.accepted = set()
        self.lost = set()
        self.count_cut_off = 0
        self.groups_may_go = self.has_lost_a_group = False
        self.entries = {}
        self.late = []
        self.let_go = set()

    # -- publishers

    @initialize(plugins=st.lists(PLUGINS, max_size=5), groups_may_go=st.booleans())
    def begin_with_a_backlog(self, plugins, groups_may_go):
        self.groups_may_go = groups_may_go
        for n, plugin in enumerate(plugins):
            self.publish_as_an_application(f"r-{n}", plugin, STREAMS[NORMAL])

    @rule(run=RUNS, plugin=PLUGINS, priority=PRIORITIES, delay_s=DELAYS)
    def publish(self, run, plugin, priority, delay_s):
        what = self.pool.publish(run, plugin, priority, delay_s)

        assert what in ("published", "delayed", "known", "ended")
        if what in ("published", "delayed"):
            self.accept(run)
        if what == "ended":
            assert run in self.pool.results()

    @rule(run=RUNS, plugin=PLUGINS, stream=st.sampled_from(STREAMS[1:3]))
    def publish_as_an_application(self, run, plugin, stream):
        self.world.publish(run, plugin, stream=stream)
        self.accept(run)

    @rule(payload=HOSTILE, stream=st.sampled_from(STREAMS[1:3]))
    def publish_rubbish(self, payload, stream):
        self.world.publish(raw=payload, stream=stream)

    def accept(self, run):
        self.accepted.add(run)
        self.lost.discard(run)

    # -- slots

    @rule(slot=SLOTS)
    def take(self, slot):
        held = self.pool.leases.get(slot)
        is_ours = held is not None and self.pool.owner_of(held) == held.consumer
        entry = self.pool.take(slot, ONE_AT_A_TIME)

        if is_ours and entry is not None:
            assert entry.id == held.id, "at most one entry a consumer"
        if entry is not None:
            self.entries[slot] = entry
        if is_ours and entry is None:
            self.note_let_go()  # what it had was cut off

    @rule()
    def take_for_all(self):
        for slot in range(4):
            if slot not in self.pool.leases:
                self.take(slot)

    @precondition(lambda self: self.pool.leases)
    @rule(data=st.data(), how=ENDS, delay_s=DELAYS, is_repeated=st.booleans())
    def end(self, data, how, delay_s, is_repeated):
        slot = data.draw(st.sampled_from(sorted(self.pool.leases)))
        lease, entry = self.pool.leases[slot], self.entries[slot]
        if not lease.is_fenced and how in ("crash", "lost", "drained"):
            how = "completed"
        is_owner = self.pool.owner_of(lease) == lease.consumer
        request = parse(entry, LIMITS.max_payload_bytes)
        before = self.pool.results()

        told = self.pool.end(lease, entry, how, delay_s)
        after = self.pool.results()
        if is_repeated:
            self.pool.end(lease, entry, how, delay_s)
            assert self.pool.results() == after, "what is told twice is done once"

        del self.pool.leases[slot]
        if lease.is_fenced and not is_owner:
            assert after == before, f"{told}: the lease was lost"
        elif how in ("completed", "failed") and not isinstance(request, Rejected):
            assert request.run_id in after

    @precondition(lambda self: self.pool.leases)
    @rule(data=st.data(), comes_back=st.booleans())
    def fall_silent(self, data, comes_back):
        slot = data.draw(st.sampled_from(sorted(self.pool.leases)))
        if comes_back:
            self.late.append((self.pool.leases[slot], self.entries[slot]))
        self.pool.fall_silent(slot)

    @precondition(lambda self: self.late)
    @rule(how=ENDS)
    def end_late(self, how):
        lease, entry = self.late.pop()
        is_owner = self.pool.owner_of(lease) == lease.consumer
        before = self.pool.results()

        self.pool.end(lease, entry, how)

        assert is_owner or self.pool.results() == before

    # -- keepers

    @rule()
    def renew(self):
        self.pool.renew()

    @rule(dies_halfway=st.booleans())
    def sweep(self, dies_halfway):
        self.pool.sweep(dies_halfway=dies_halfway)
        self.note_let_go()

    @rule()
    def tidy(self):
        needed = {**self.pool.undelivered(), **self.pool.pending()}
        there = {place for place in needed if self.is_there(*place)}

        self.pool.tidy()

        assert {place for place in there if not self.is_there(*place)} == set()

    def is_there(self, stream, entry_id):
        return bool(self.world.client.xrange(stream, entry_id, entry_id))

    @rule()
    def let_time_pass(self):
        self.world.let_delayed_begin()

    # -- people

    @rule(run=RUNS)
    def cancel(self, run):
        was = self.pool.cancel(run)

        if was in ("queued", "delayed", "parked"):
            assert run in self.pool.results()

    @rule(plugin=st.sampled_from(["one", "paused"]), action=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, plugin, action):
        self.pool.set_plugin(plugin, action)

    # -- strangers

    @rule(stream=st.sampled_from(ALL_STREAMS), keep=st.integers(0, 3))
    def cut_off(self, stream, keep):
        before = self.pool.undelivered()
        self.world.client.xtrim(stream, maxlen=keep, approximate=False)
        gone = before.keys() - self.pool.undelivered().keys()

        self.count_cut_off += len(gone)
        self.lost |= {before[place] for place in gone} - self.pool.copies()

    @precondition(lambda self: self.pool.leases)
    @rule(data=st.data())
    def acknowledge_what_is_not_theirs(self, data):
        lease = self.pool.leases[data.draw(st.sampled_from(sorted(self.pool.leases)))]
        self.world.client.xack(lease.stream, GROUP, lease.id)
        self.note_let_go()

    @precondition(lambda self: self.groups_may_go)
    @rule(stream=st.sampled_from(ALL_STREAMS))
    def destroy_a_group(self, stream):
        self.world.client.xgroup_destroy(stream, GROUP)
        self.pool.ensure_groups()
        self.has_lost_a_group = True
        self.note_let_go()

    def note_let_go(self):
        """Remember what is noted as in hand and is not: tidy answers it, some day."""
        pending = self.pool.pending()
        places = {(h["stream"], h["id"]) for h in self.world.holding().values()}
        self.let_go |= places - pending.keys()

    # -- what holds after each step

    @invariant()
    def no_run_has_two_results(self):
        assert [run for run, n in Counter(self.pool.results()).items() if n > 1] == []

    @invariant()
    def every_accepted_run_has_a_result_or_a_copy(self):
        answered = {*self.pool.results(), *self.pool.copies(), *self.lost}
        assert self.accepted <= answered, self.accepted - answered

    @invariant()
    def what_counts_as_running_is_what_is_held(self):
        plugins = Counter(facts["plugin"] for facts in self.world.holding().values())
        del plugins[""]
        assert self.world.running() == dict(plugins)

    @invariant()
    def what_is_held_is_what_is_pending(self):
        held = {(facts["stream"], facts["id"]) for facts in self.world.holding().values()}
        pending = self.pool.pending().keys()
        assert pending <= held
        assert held - pending <= self.let_go

    @invariant()
    def what_waits_is_delayed_or_parked_and_counted(self):
        parked = self.world.client.zrange("crewpool:parked", 0, -1)
        runs = [member.split("\0")[2] for member in parked] + list(self.world.delayed())
        assert sorted(runs) == sorted(self.world.client.hkeys("crewpool:waiting"))
        self.world.parked()

    # -- at the end

    def teardown(self):
        try:
            self.drain()
            assert Counter(self.pool.results()) == Counter(self.accepted - self.lost_for_good())
            self.world.assert_nothing_pending()
            assert self.world.holding() == self.world.running() == {}
            assert self.pool.copies() - {""} == set()
            if not self.has_lost_a_group:
                assert self.pool.lost == self.count_cut_off
        finally:
            self.pool.close()

    def lost_for_good(self):
        return self.lost - set(self.pool.results())

    def drain(self):
        """Let every plugin go on and every time come, and finish all that there is."""
        for slot in list(self.pool.leases):
            self.pool.fall_silent(slot)
        for _ in range(100):
            for plugin in ("free", "one", "paused"):
                self.pool.set_plugin(plugin, "resume")
            self.pool.sweep()
            self.world.let_delayed_begin()
            entry = self.pool.take(0)
            if entry is not None:
                self.pool.end(self.pool.leases.pop(0), entry, "completed")
            else:
                self.pool.tidy()
                if not self.pool.copies() - {""}:
                    return


def test_whatever_happens_each_run_has_one_result(any_server):
    DeliveryMachine.server = any_server
    run_state_machine_as_test(
        DeliveryMachine,
        settings=settings(max_examples=60, stateful_step_count=30, print_blob=True),
    )
