"""Healthy code beside a broken file: only that file may be blamed."""


class Returns:
    def __init__(self, settings):
        self.settings = settings

    def kickoff(self, inputs):
        return f"# Ran\n\nNobody checked the plugin.\n\n{self.settings} {inputs}\n"


def create_crew(settings):
    return Returns(settings)
