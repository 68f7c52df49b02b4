"""The environment before the first import of crewai.

Called by the zygote before it imports anything else. The supervisor has passed on an
allow-list already; this is the second bolt on the same door, and the one that holds when
somebody starts the zygote by hand.
"""

from collections.abc import MutableMapping

# Each of these is read while crewai is being imported; set later they do nothing.
FORCED = {
    # Telemetry starts a thread and takes TERM, INT, HUP, TSTP and CONT (trap C3).
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    # Suppresses the first-run prompt for traces, which waits 20 s for an answer.
    "CREWAI_TESTING": "true",
    # crewai calls load_dotenv() while it is imported, and dotenv looks in every folder
    # above site-packages: a .env of the application would bring REDIS_URL back in.
    "PYTHON_DOTENV_DISABLED": "1",
    # numpy's BLAS starts a thread per core at import; a fork needs exactly one (trap C4).
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "ANONYMIZED_TELEMETRY": "False",
}
# Where crewai or its libraries would find our Redis by themselves (trap C12).
REDIS_NAMES = ("REDIS_URL", "REDIS_HOST", "REDIS_PASSWORD", "REDIS_PORT", "REDIS_DB")
# The few names of ours that a worker may keep.
KEPT = ("CREWPOOL_TREE", "CREWPOOL_OFFLINE_MODEL_URL")


def lock_down(environ: MutableMapping[str, str]) -> None:
    """Take Redis and our own configuration out; set what crewai reads at import."""
    ours = [name for name in environ if name.startswith("CREWPOOL_") and name not in KEPT]
    for name in (*REDIS_NAMES, *ours):
        environ.pop(name, None)
    environ.update(FORCED)
