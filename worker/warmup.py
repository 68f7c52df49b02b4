"""Does in the zygote, once, what every first kickoff would do again in each worker."""


def warm() -> None:
    """Pay first-use costs ahead. Must leave no thread and no open file."""
