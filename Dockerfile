# syntax=docker/dockerfile:1
# The native server. From the registries alone: the images of Rust and Debian, and what Cargo.lock names. The crates are pinned by
# their checksums and the compiler by its version; the images' tags move, unless you give their digests. The project's own checks
# read this file (hadolint); they have no container engine to build it with.
#
#   docker build -t pgspan-server .
#   docker build -t pgspan-server --build-arg RUST=rust@sha256:… --build-arg DEBIAN=debian@sha256:… .
#   docker run -e DATABASE_URL=… -p 127.0.0.1:8080:8080 pgspan-server
#
# With a PostgreSQL: docker compose up (compose.yaml).

ARG RUST=rust:1.95.0-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS build
# the image's own, whatever rust-toolchain.toml says: nothing is fetched for it
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
# Only what the program is made of. What was fetched and compiled before is kept in caches beside the layers, so that a change compiles
# what changed; the program is copied out of there.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile native -p pgspan-server && cp target/native/pgspan-server /pgspan-server

FROM ${DEBIAN}
# the authorities that sslmode=verify-full trusts where the URL names none; Rust's image has them, so nothing is installed here
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /pgspan-server /usr/local/bin/pgspan-server
# a number, so that an orchestrator can see that it is not root
USER 65532:65532
# A container is reached through its network alone: publish the first port, and keep the second one (probes and metrics) to yourself.
ENV LOG_FORMAT=json LISTEN_ADDR=0.0.0.0:8080 METRICS_ADDR=0.0.0.0:8079
EXPOSE 8080 8079
# Ready: Docker shows it and waits for it. Where an unhealthy container is replaced (Swarm), ask for --live.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["pgspan-server", "probe"]
# SIGTERM, which is what Docker sends, drains; let it have 25 s (docker stop --time 25)
ENTRYPOINT ["pgspan-server"]
CMD ["serve"]
