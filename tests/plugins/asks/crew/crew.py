"""Asks a person. There is none: stdin of a worker is /dev/null."""


class Asks:
    def kickoff(self, inputs):
        return f"# The answer\n\n{input('Is this good enough? ')}\n"


def create_crew(settings):
    return Asks()
