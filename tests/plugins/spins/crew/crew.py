"""Spins in Python: busy, but the interpreter still switches threads and hears signals."""

import time


class Spins:
    def __init__(self, settings):
        self.seconds = settings.get("seconds", float("inf"))

    def kickoff(self, inputs):
        end = time.monotonic() + self.seconds
        turns = 0
        while time.monotonic() < end:
            turns += 1
        return f"# Spun\n\n{turns} turns in {self.seconds} s.\n"


def create_crew(settings):
    return Spins(settings)
