"""Sleeps: a run that takes long and can be stopped by anything."""

import time


class Sleeps:
    def __init__(self, settings):
        self.seconds = settings.get("seconds", 60)

    def kickoff(self, inputs):
        time.sleep(self.seconds)
        return f"# Slept\n\n{self.seconds} s.\n"


def create_crew(settings):
    return Sleeps(settings)
