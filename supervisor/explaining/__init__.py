"""Says in sentences where a run is, since when, what blocks it, and what comes next.

Pure, one sentence a fact: places.py tells where, reasons.py why, facts.py holds what both are
made of. What is asked in Redis stands in streams/located.py.
"""
