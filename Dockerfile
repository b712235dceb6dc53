# One image for every role, the CLI and the bridge: `docker build -t agenthub .`
# Two stages: what builds (uv, caches) stays behind. Everything comes from the lock, checked by hash.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG UV_IMAGE=ghcr.io/astral-sh/uv:0.13.8

FROM ${UV_IMAGE} AS uv

FROM ${PYTHON_IMAGE} AS build
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/agenthub
WORKDIR /build
# Dependencies first: they change seldom, so this layer is built seldom.
COPY requirements.lock requirements-image.lock ./
RUN uv venv --quiet --python python3 /opt/agenthub \
 && uv pip sync --quiet --require-hashes requirements-image.lock
# The build back-end, from the lock too, in an environment of its own.
RUN awk '/^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ {on = 1} on {print} on && !/\\$/ {on = 0}' \
      requirements.lock > backend.lock \
 && uv venv --quiet --python python3 /opt/backend \
 && VIRTUAL_ENV=/opt/backend uv pip sync --quiet --require-hashes backend.lock
COPY pyproject.toml README.md LICENSE ./
COPY agenthub agenthub
RUN VIRTUAL_ENV=/opt/backend PATH=/opt/backend/bin:$PATH uv build --quiet --wheel --no-build-isolation \
      --python /opt/backend/bin/python --out-dir dist \
 && uv pip install --quiet --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="agenthub" \
      org.opencontainers.image.description="The runtime on which an organization of LLM agents works day and night" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/agenthub /opt/agenthub
# /org: the organization's files, read-only. /data: the state of one role, the only place that is written.
RUN mkdir -p /org /data && chown 10001:10001 /data
ENV PATH=/opt/agenthub/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    AGENTHUB_FOLDER=/org AGENTHUB_STATE=/data AGENTHUB_LOG_FORMAT=json HOME=/tmp
WORKDIR /org
VOLUME /data
USER 10001:10001
# No curl: the program asks its own processes, without the broker.
# Asked often while it starts, so that what waits for it does not wait long, and seldom from then on (Docker 25 or newer).
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --start-interval=3s --retries=3 CMD ["agenthub", "check"]
ENTRYPOINT ["agenthub"]
CMD ["--help"]
