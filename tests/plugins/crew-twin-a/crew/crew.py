"""Imports its helper in both ways; its twin has files of the same names."""

from crew.helper import NAME as ABSOLUTE

from .helper import NAME as RELATIVE


class Twin:
    def kickoff(self, inputs):
        # Once more, now: an import inside a function is resolved while the run is on.
        from crew.helper import NAME as LATE

        return f"absolute={ABSOLUTE} relative={RELATIVE} late={LATE}"


def create_crew(settings):
    return Twin()
