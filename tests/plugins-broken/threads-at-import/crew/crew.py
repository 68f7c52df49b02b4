"""Starts a thread while it is imported: a zygote that forked now would lose it."""

import threading

threading.Thread(target=threading.Event().wait, name="drill-at-import", daemon=True).start()


class Returns:
    def __init__(self, settings):
        self.settings = settings

    def kickoff(self, inputs):
        return f"# Ran\n\nThe fork gate let a thread pass.\n\n{self.settings} {inputs}\n"


def create_crew(settings):
    return Returns(settings)
