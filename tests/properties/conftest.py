"""Hypothesis, so that a run is the same everywhere and as long as the others."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "crewpool",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("crewpool")
