"""Leaves in mid-run. No exit code makes a success of that, not even 0."""

import os


class Exits:
    def __init__(self, settings):
        self.code = settings.get("code", 0)

    def kickoff(self, inputs):
        os._exit(self.code)


def create_crew(settings):
    return Exits(settings)
