"""Where a run is: one function a place (located.py), each with the reasons that belong there."""

from supervisor.explaining.facts import NOBODY, Facts, ago, number, priority, quoted, runs
from supervisor.explaining.reasons import (
    deadline,
    exhausted,
    handed_back,
    last_moments,
    letter,
    memory,
    owner,
    past,
    plugin_blocks,
    progress,
    result,
    takers,
)
from supervisor.streams.keys import PRIORITIES
from supervisor.streams.located import Held
from supervisor.times import clock, told


def explain(facts: Facts) -> list[str]:
    """Return the sentences."""
    return _BY_PLACE[facts.run.place](facts)


def _unknown(facts: Facts) -> list[str]:
    told_all = (
        f"Run {facts.run.run_id} is not known: it stands in no stream, nobody has it, and it "
        "has neither a record nor a result."
    )
    return [told_all]


def _queued(facts: Facts) -> list[str]:
    queued = facts.run.queued
    assert queued is not None  # noqa: S101  # the place says so; tells the type checker
    first = (
        f"Run {facts.run.run_id} is queued in {queued.stream}, priority "
        f"{PRIORITIES[queued.level]}, since {ago(facts, queued.since)}."
    )
    said = [first]
    said += handed_back(facts)
    if queued.is_more:
        said.append(f"More than {queued.before} runs are before it.")
    elif queued.before:
        said.append(f"About {runs(queued.before)} before it.")
    else:
        said.append("It is the next one to be taken.")
    if because := plugin_blocks(facts):
        said += [*because, "It will be parked when its turn comes, and hold up no other."]
    return said + takers(facts)


def _delayed(facts: Facts) -> list[str]:
    waiting = facts.run.waiting
    assert waiting is not None  # noqa: S101  # the place says so; tells the type checker
    due_at = waiting.due_at or 0.0
    if due_at > facts.now:
        when = f"is delayed until {clock(due_at)} (in {told(due_at - facts.now)})"
    else:
        when = f"was delayed until {ago(facts, due_at)}, and is promoted with the next take"
    said = [f"Run {facts.run.run_id} {when}."]
    said += handed_back(facts) or [f"It was submitted for then, {ago(facts, waiting.since)}."]
    said.append(
        f"Then any supervisor puts it to the end of the queue, priority {priority(waiting.level)}."
    )
    return said if facts.alive else [*said, f"But {NOBODY}."]


def _parked(facts: Facts) -> list[str]:
    run, waiting = facts.run, facts.run.waiting
    assert waiting is not None  # noqa: S101  # the place says so; tells the type checker
    first = (
        f"Run {run.run_id} is parked since {ago(facts, waiting.since)}: it waits for its "
        f"plugin {run.plugin.name}, and holds no worker."
    )
    free = "Nothing keeps its plugin any more: it goes on by itself."
    if facts.limits is None:
        free = "Its plugin does not stand in PLUGIN_DIR here, so that its limits are not known."
    said = [first, *(plugin_blocks(facts) or [free])]
    if waiting.before:
        said.append(f"About {runs(waiting.before)} before it of this plugin alone.")
    else:
        said.append("It is the next one of its plugin.")
    return said + takers(facts)


def _running(facts: Facts) -> list[str]:
    run, held = facts.run, facts.run.held
    assert held is not None  # noqa: S101  # the place says so; tells the type checker
    if not held.host:
        first = (
            f"Run {run.run_id} was taken by {held.owner}, another program that reads for our "
            f"group, {ago(facts, held.since)}."
        )
        return [first, "If that is silent for a lease, a supervisor reclaims the run."]
    if held.slot == "sweep":
        said = [f"Run {run.run_id} was lost by its supervisor; {held.host} is reclaiming it."]
        return said + past(facts)
    attempt = int(number(run.record, "attempt"))
    if _has_started(facts, held, attempt):
        began = number(run.record, "started_at")
        first = (
            f"Run {run.run_id} is running on {held.host}, slot {held.slot}, attempt {attempt}, "
            f"since {ago(facts, began)}."
        )
        said = [first]
        said += [*past(facts), *progress(run.record), *deadline(facts, began)]
    else:
        first = (
            f"Run {run.run_id} was taken by {held.host}, slot {held.slot}, "
            f"{ago(facts, held.since)}, and is about to start."
        )
        said = [first]
        said += [*past(facts), *memory(facts, held)]
    if run.cancelled_at is not None:
        said.append(
            f"It was cancelled at {ago(facts, run.cancelled_at)}: its supervisor kills it as "
            "soon as it hears of it."
        )
    return said + owner(facts, held)


def _has_started(facts: Facts, held: Held, attempt: int) -> bool:
    """Whether the record is about this start of the run, and not about one before."""
    record = facts.run.record
    is_this = (record.get("worker"), record.get("entry_id")) == (held.owner, held.entry_id)
    # The state may be that of another supervisor, which passed the run on and wrote late.
    is_on = record.get("state") == "running" or attempt not in {a.number for a in facts.attempts}
    return is_this and is_on


def _ended(facts: Facts) -> list[str]:
    run = facts.run
    state, record = run.record.get("state", ""), run.record
    if state not in ("completed", "failed"):
        return [f"Run {run.run_id} has had its result.", *result(facts), *letter(facts)]
    at, error = number(record, "ended_at"), quoted(record.get("error", ""))
    when = f" at {ago(facts, at)}" if at else ""
    said = [f"Run {run.run_id} {state}{when}{f': {error}' if error else ''}."]
    if record.get("worker"):
        attempt = max(1, int(number(record, "attempt")))
        took = at - number(record, "started_at")
        said.append(f"It ran on {record['worker']} for {told(took)}, attempt {attempt}.")
    cause = record.get("cause", "")
    if state == "failed" and cause:
        said.append(f"The cause is {cause}{exhausted(facts, cause)}.")
    said += last_moments(facts)
    said += past(facts, is_over=True)
    return said + result(facts) + letter(facts)


def _gone(facts: Facts) -> list[str]:
    run = facts.run
    state = run.record.get("state") or "in hand"
    first = (
        f"Run {run.run_id} was {state} at last, and now stands in no stream, and nobody has "
        "it: somebody else cut off, removed or acknowledged its entry."
    )
    said = [first]
    said += past(facts)
    if facts.alive:
        return [*said, "A supervisor that tidies up gives it a failed result within minutes."]
    return [*said, f"It would get a failed result from a supervisor, but {NOBODY}."]


_BY_PLACE = {
    "unknown": _unknown,
    "queued": _queued,
    "delayed": _delayed,
    "parked": _parked,
    "running": _running,
    "ended": _ended,
    "gone": _gone,
}
