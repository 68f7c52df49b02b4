# syntax=docker/dockerfile:1
# The supervisor, its workers and the plugins of this repository in one image.
# Put plugins of your own into /app/plugins, by a mount or by `FROM crewpool` + COPY;
# what they import beyond CrewAI is installed into /opt/crewpool.

# The interpreter that the tests run on.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS builder
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
# First all that we depend on and without our code, so that this layer (1 GB,
# minutes) is built again only when the dependencies change. setuptools wants the two
# files to exist and finds no package to install, which is what we are after.
COPY pyproject.toml constraints.txt ./
RUN touch README.md LICENSE \
    && python -m venv /opt/crewpool \
    && /opt/crewpool/bin/pip install --no-cache-dir -c constraints.txt '.[records,samples]'
COPY README.md LICENSE ./
COPY supervisor supervisor
COPY worker worker
COPY plugins plugins
# Bytecode for all: pip compiles what it installs, the plugins are loaded by path. The
# root file system may be read-only later, and each start would compile them again.
RUN /opt/crewpool/bin/pip install --no-cache-dir --no-deps --force-reinstall . \
    && /opt/crewpool/bin/python -m compileall -q plugins

FROM python:${PYTHON_VERSION}-slim-bookworm
LABEL org.opencontainers.image.title="crewpool" \
      org.opencontainers.image.description="A supervisor for CrewAI crews" \
      org.opencontainers.image.licenses="MIT"
# A number, so that `runAsNonRoot` can be checked without reading /etc/passwd.
RUN groupadd --gid 10001 crewpool \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin crewpool
COPY --from=builder /opt/crewpool /opt/crewpool
WORKDIR /app
COPY --from=builder /src/plugins plugins
# HOME is /tmp because libraries of crews write there; CrewAI's own files go to /dev/shm.
# Both are to be tmpfs when the root is read-only.
ENV PATH=/opt/crewpool/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PLUGIN_DIR=/app/plugins \
    CREWPOOL_HTTP_HOST=0.0.0.0 \
    CREWPOOL_HTTP_PORT=8000
USER 10001:10001
# The supervisor's probes; of results consume, of the gateway, and the gateway itself.
EXPOSE 8000 8001 8002 8080
# TERM drains: give the container more time than CREWPOOL_DRAIN_S (330 s for 300).
STOPSIGNAL SIGTERM
# Of the supervisor. Others are asked elsewhere: crewpool health --url http://127.0.0.1:8001
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 CMD ["crewpool", "health"]
# Exec form: crewpool itself is PID 1, hears signals and reaps what crews leave behind.
ENTRYPOINT ["crewpool"]
CMD ["run"]
