# The rstmdb server and rstmdb-cli.
#
#   docker build -t rstmdb .
#   docker run -p 7401:7401 -p 127.0.0.1:9090:9090 -v rstmdb-data:/data rstmdb

FROM rust:1.95-slim-bookworm AS build
# For jemalloc.
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package rstmdb-server --package rstmdb-cli
# The programs with their manual pages and completions.
RUN packaging/programs.sh . target/release /out

FROM debian:12-slim
RUN useradd --system --uid 7401 --no-create-home --shell /usr/sbin/nologin rstmdb \
    && install -d -o rstmdb -g rstmdb -m 0750 /data
COPY --from=build /out/ /usr/local/

# Reached from outside the container; who publishes the ports decides who gets there.
ENV RSTMDB_BIND=0.0.0.0:7401 \
    RSTMDB_METRICS_BIND=0.0.0.0:9090 \
    RSTMDB_DATA=/data
USER rstmdb
WORKDIR /data
VOLUME /data
EXPOSE 7401 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["rstmdb", "--check-health"]
ENTRYPOINT ["rstmdb"]
