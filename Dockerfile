# The daemon as an image: docker build --tag desilt:0.1.0 .
# Two stages, so that sources and build tools stay behind. The image runs as user 10001, writes
# only to /var/lib/desilt (the journal) and /tmp (scratch), and works with a read-only root.
# An index other than pip's default: --secret id=pip,src=/etc/pip.conf
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
RUN python -m venv /opt/desilt

# What desilt needs, in the resolved versions, is a layer of its own: a change of our code does not
# fetch it again. The lock also has the tools of developers; as a constraint it installs none.
COPY pyproject.toml requirements.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
               print(*project["dependencies"], sep="\n")' > /tmp/needed.txt \
    && /opt/desilt/bin/pip install --no-cache-dir --no-compile \
        -c requirements.lock -r /tmp/needed.txt

COPY README.md LICENSE __init__.py py.typed ./
COPY table/ table/
COPY policies/ policies/
COPY daemon/ daemon/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/desilt/bin/pip install --no-cache-dir --no-compile --no-deps . \
    && /opt/desilt/bin/pip uninstall --yes setuptools pip \
    && /opt/desilt/bin/python -m compileall -q -j 0 /opt/desilt/lib

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="desilt" \
      org.opencontainers.image.description="Keeps lakehouse tables healthy beside live writers" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/desilt /opt/desilt
RUN mkdir -p /var/lib/desilt && chown 10001:10001 /var/lib/desilt

# Byte code was written at build time and the root may be read-only. Output is a log: no buffering.
ENV PATH=/opt/desilt/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
# A number, not a name: Kubernetes can then see that it is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 9464
VOLUME /var/lib/desilt
STOPSIGNAL SIGTERM
# The daemon itself is process 1: it gets SIGTERM and reaps its workers. No shell in between.
ENTRYPOINT ["/opt/desilt/bin/desilt"]
CMD ["run", "-c", "/etc/desilt/desilt.yaml"]
