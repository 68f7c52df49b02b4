"""Threads of tests: all begin at once, and what goes wrong in one of them fails the test."""

import threading
from concurrent.futures import ThreadPoolExecutor

WITHIN_S = 30


def at_once(*calls):
    """Call all at the same moment, each in a thread; return what they returned, in their order.

    Raises what the first of them raised.
    """
    barrier = threading.Barrier(len(calls))

    def call(one):
        barrier.wait(WITHIN_S)
        return one()

    with ThreadPoolExecutor(len(calls)) as threads:
        begun = [threads.submit(call, one) for one in calls]
        return [one.result() for one in begun]
