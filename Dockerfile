# syntax=docker/dockerfile:1
# The rstmdb server and rstmdb-cli.
#
#   docker build -t rstmdb .
#   docker run -p 127.0.0.1:7401:7401 -p 127.0.0.1:9090:9090 -v rstmdb-data:/data rstmdb

FROM rust:1.95-slim-bookworm AS build
# For jemalloc. Versions are those of the release that the image is of.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What was downloaded and compiled stays for the next build; the programs are copied out of the caches, with their manual
# pages and completions.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --config 'profile.release.strip="symbols"' \
        --package rstmdb-server --package rstmdb-cli \
    && packaging/programs.sh . target/release /out

FROM debian:12-slim
LABEL org.opencontainers.image.title="rstmdb" \
      org.opencontainers.image.description="A database of state machines" \
      org.opencontainers.image.source="https://github.com/rstmdb/rstmdb" \
      org.opencontainers.image.documentation="https://github.com/rstmdb/rstmdb/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0"
# Authorities, for rstmdb-cli.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 7401 rstmdb \
    && useradd --system --uid 7401 --gid 7401 --no-create-home --shell /usr/sbin/nologin rstmdb \
    && install -d -o 7401 -g 7401 -m 0700 /data
COPY --from=build /out/ /usr/local/

# Defaults: a file and RSTMDB_… win over them. Reached from outside the container; who publishes the ports decides
# who gets there.
ENV RSTMDB_DEFAULT_BIND=0.0.0.0:7401 \
    RSTMDB_DEFAULT_METRICS_BIND=0.0.0.0:9090 \
    RSTMDB_DEFAULT_DATA=/data
# By number, so that a cluster can see that it is not root.
USER 7401:7401
WORKDIR /data
VOLUME /data
EXPOSE 7401 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["rstmdb", "--check-health"]
ENTRYPOINT ["rstmdb"]
