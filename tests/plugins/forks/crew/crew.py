"""Leaves a daemon behind and goes on as if nothing had happened."""

import time

from .daemon import start


class Forks:
    def __init__(self, settings):
        self.pid_file = settings["pid_file"]
        self.then = settings.get("then", "return")

    def kickoff(self, inputs):
        start(self.pid_file)
        if self.then == "sleep":
            time.sleep(600)
        return "# Forked\n\nThe daemon is on its own now.\n"


def create_crew(settings):
    return Forks(settings)
