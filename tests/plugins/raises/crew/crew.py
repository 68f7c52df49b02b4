"""Fails as crews do, with a text that may hold what must not be shown."""


class DrillError(RuntimeError):
    pass


class Raises:
    def __init__(self, settings):
        self.text = settings.get("text", "the drill raised this")
        if settings.get("where") == "create_crew":
            raise DrillError(self.text)

    def kickoff(self, inputs):
        raise DrillError(self.text)


def create_crew(settings):
    return Raises(settings)
