"""Takes memory that is really there: bytes of a value, not lazily zeroed pages."""

import time


class EatsMemory:
    def __init__(self, settings):
        self.megabytes = settings.get("megabytes", 256)
        self.seconds = settings.get("seconds", 60)

    def kickoff(self, inputs):
        # By the megabyte, so that whoever watches the size sees it grow.
        eaten = [b"x" * (1 << 20) for _ in range(self.megabytes)]
        time.sleep(self.seconds)
        return f"# Full\n\nKept {len(eaten)} MB for {self.seconds} s.\n"


def create_crew(settings):
    return EatsMemory(settings)
