"""Returns at once, but its threads, which are no daemons, would hold up an orderly exit."""

import threading


class LeaksThreads:
    def __init__(self, settings):
        self.threads = settings.get("threads", 3)

    def kickoff(self, inputs):
        for number in range(self.threads):
            threading.Thread(target=threading.Event().wait, name=f"leak-{number}").start()
        return f"# Leaked\n\n{self.threads} threads are still there.\n"


def create_crew(settings):
    return LeaksThreads(settings)
