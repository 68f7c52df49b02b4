"""Why a run is where it is, and what comes of it: each function returns sentences, or none."""

from collections.abc import Mapping

from supervisor import lastmoments
from supervisor.explaining.facts import NOBODY, Facts, ago, full, number, quoted
from supervisor.streams.located import Held
from supervisor.streams.recorded import Attempt
from supervisor.times import clock, told


def owner(facts: Facts, held: Held) -> list[str]:
    """Say whether its supervisor lives, and what becomes of the run if not."""
    seen = next((host for host in facts.hosts if host.host == held.host), None)
    left_s = facts.lease_s - held.idle_s
    if seen is not None and seen.snapshot is not None:
        beat_s = max(0.0, facts.now - seen.beat_at)
        said = [f"Its supervisor is alive: its last heartbeat was {told(beat_s)} ago."]
        if left_s < 0:
            said.append(f"But it has not renewed the lease for {told(held.idle_s)}.")
        return said
    silent = "has no heartbeat" if seen is None else f"was last seen {ago(facts, seen.beat_at)}"
    said = [f"Its supervisor {held.host} {silent}: it is dead, or cut off from Redis."]
    lapses = f"lapses in {told(left_s)}" if left_s > 0 else f"lapsed {told(-left_s)} ago"
    said.append(f"Its lease {lapses}; then another supervisor reclaims it, and {_if_lost(facts)}.")
    return said if facts.alive else [*said, f"But {NOBODY}."]


def memory(facts: Facts, held: Held) -> list[str]:
    """Say that it waits for memory where it was taken; [] when it does not."""
    seen = next((host for host in facts.alive if host.host == held.host), None)
    told = (seen.snapshot or {}).get("memory") if seen else None
    waiting = told.get("waiting") if isinstance(told, Mapping) else None
    if seen is None or not isinstance(waiting, list) or facts.run.run_id not in waiting:
        return []
    return [
        (
            f"It waits for memory there ({full(seen)}): it begins when it fits, or goes back "
            "to all after some seconds, once, and no attempt is burnt."
        )
    ]


def _if_lost(facts: Facts) -> str:
    attempt = max(1, int(number(facts.run.record, "attempt")))
    most = facts.retries["lost"].attempts if "lost" in facts.retries else 0
    if not most:
        return "starts it again or buries it, as the policy for lost runs says"
    if attempt < most:
        return f"starts attempt {attempt + 1} of at most {most}"
    return f"buries it: a lost run may start {most} times"


def plugin_blocks(facts: Facts) -> list[str]:
    """Say why no run of its plugin may start now; [] when one may."""
    plugin, state = facts.run.plugin, facts.run.plugin.state
    name = f"Its plugin {plugin.name}"
    if state.state == "paused":
        by = f" by {state.by}" if state.by else ""
        why = f" ({quoted(state.reason)})" if state.reason else ""
        since = f" since {ago(facts, state.since)}" if state.since else ""
        return [f"{name} is paused{by}{since}{why}, until crewpool plugins resume {plugin.name}."]
    if state.state == "quarantined":
        crashed = f"after {len(state.crashes)} crashes" if state.crashes else "for its crashes"
        if state.until is not None and state.until > facts.now:
            until = f"until {clock(state.until)} (in {told(state.until - facts.now)})"
            return [f"{name} is in quarantine {crashed}, {until}; then one run is let through."]
        return []
    if state.state == "probing" and any(run == state.probe for run, _ in plugin.holders):
        return [f"{name} is on probation: it goes on when run {state.probe} has ended well."]
    return _limits_block(facts)


def _limits_block(facts: Facts) -> list[str]:
    plugin, limits = facts.run.plugin, facts.limits
    if limits is None:
        return []
    most, rate = limits.max_concurrency, limits.rate
    if most is not None and plugin.running >= most:
        who = ", ".join(f"{run} on {consumer}" for run, consumer in plugin.holders)
        return [
            (
                f"{plugin.running} of at most {most} runs of its plugin {plugin.name} are in hand"
                f"{f': {who}' if who else ''}; it goes on when one of them has ended."
            )
        ]
    if rate is not None and len(plugin.starts) >= rate.starts:
        free_at = plugin.starts[-rate.starts] + rate.period_s
        if free_at > facts.now:
            return [
                (
                    f"{rate.starts} runs of its plugin {plugin.name} started within "
                    f"{rate.period_s:g}s, as many as may; the next may start at {clock(free_at)} "
                    f"(in {told(free_at - facts.now)})."
                )
            ]
    return []


def takers(facts: Facts) -> list[str]:
    """Say who could take it."""
    alive = facts.alive
    if not alive:
        return [f"Nobody takes it: {NOBODY}."]
    taking = [host for host in alive if (host.snapshot or {}).get("phase") == "running"]
    if not taking:
        how = ", ".join(f"{host.host} is {(host.snapshot or {}).get('phase')}" for host in alive)
        return [f"Nobody takes it now: {how}."]
    if all(full(host) for host in taking):
        how = ", ".join(f"{host.host} has no memory for it ({full(host)})" for host in taking)
        return [f"Nobody takes it now: {how}."]
    slots = [slot for host in taking for slot in (host.snapshot or {}).get("workers") or ()]
    free = sum(slot.get("state") != "busy" for slot in slots)
    names = ", ".join(host.host for host in taking)
    who = f"{len(taking)} supervisor{'s take' if len(taking) > 1 else ' takes'} runs ({names})"
    if free:
        return [f"{who}, and {free} of {len(slots)} workers are free."]
    return [f"{who}, and all {len(slots)} workers are busy: it waits for one of them."]


def handed_back(facts: Facts) -> list[str]:
    """Say why it was started before and is started again; [] for a first start."""
    because = quoted(facts.run.record.get("handed_back_because", ""))
    if not because:
        return []
    attempt = max(1, int(number(facts.run.record, "attempt")))
    # What a policy hands back begins with its cause. All else burns no attempt.
    cause = because.partition(":")[0]
    if cause not in facts.retries:
        return [f"It was handed back ({because}): attempt {attempt} starts anew."]
    most = facts.retries[cause].attempts
    return [
        *past(facts),
        (
            f"It was handed back ({because}): attempt {attempt + 1} of at most {most} comes next, "
            f"by the policy for {cause}."
        ),
    ]


def past(facts: Facts, *, is_over: bool = False) -> list[str]:
    """Say how the attempts ended before, the last one told elsewhere when all is over."""
    last = int(number(facts.run.record, "attempt")) if is_over else 0
    return [
        f"Attempt {one.number} on {one.host or 'a host'} ended at {ago(facts, one.ended_at)} "
        f"with {one.cause}{_told_error(one)}."
        for one in facts.attempts
        if one.number != last
    ]


def last_moments(facts: Facts) -> list[str]:
    """Say what the last attempt was doing when it was killed, if it was."""
    last = int(number(facts.run.record, "attempt"))
    seen = next((one.post_mortem for one in facts.attempts if one.number == last), {})
    return [sentence] if (sentence := lastmoments.told(seen)) else []


def _told_error(attempt: Attempt) -> str:
    # What is handed back begins with its cause, which was said.
    error = quoted(attempt.error.removeprefix(f"{attempt.cause}:"))
    return f": {error}" if error else ""


def progress(record: Mapping[str, str]) -> list[str]:
    """Say how far the crew is."""
    tasks, task = int(number(record, "tasks")), int(number(record, "task"))
    if not tasks:
        return []
    agent = f", agent {quoted(record['agent'])}" if record.get("agent") else ""
    tool = f", tool {quoted(record['tool'])}" if record.get("tool") else ""
    return [f"It is at task {task} of {tasks}{agent}{tool}."]


def deadline(facts: Facts, began: float) -> list[str]:
    """Say when it is killed at the latest."""
    timeout_s = number(facts.run.record, "timeout_s")
    if not timeout_s or not began:
        return []
    until = began + timeout_s
    if until > facts.now:
        how = f"at {clock(until)} (in {told(until - facts.now)})"
        return [f"It is killed {how} if it has not ended by then."]
    return [f"It should have been killed at {ago(facts, until)}."]


def exhausted(facts: Facts, cause: str) -> str:
    """Say how often this cause lets a run start, as the end of a sentence."""
    if cause not in facts.retries:
        return ""
    most = facts.retries[cause].attempts
    return f", for which a run starts at most {most} time{'s' if most > 1 else ''}"


def result(facts: Facts) -> list[str]:
    """Say where its result is, if somebody looked."""
    if facts.has_entry is None:
        return []
    stands = "stands in" if facts.has_entry else "could not be found any more in"
    return [f"Its result {stands} {facts.results}."]


def letter(facts: Facts) -> list[str]:
    """Say where its dead letter is."""
    if not facts.letter_id:
        return []
    return [
        (
            f"Its dead letter is {facts.letter_id} (crewpool dlq show {facts.letter_id}); "
            "nothing more happens to it unless that is replayed."
        )
    ]
