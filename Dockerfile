# The native server. From the registries alone: the images of Rust and Debian, and what Cargo.lock names. The crates are pinned by
# their checksums and the compiler by its version; the images' tags move, unless you give their digests. It has not been built by
# the project's own checks, which have no container engine.
#
#   docker build -t pgspan-server .
#   docker build -t pgspan-server --build-arg RUST=rust@sha256:… --build-arg DEBIAN=debian@sha256:… .
#   docker run -e DATABASE_URL=… -e LISTEN_ADDR=0.0.0.0:8080 -p 127.0.0.1:8080:8080 pgspan-server

ARG RUST=rust:1.95.0-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS build
# the image's own, whatever rust-toolchain.toml says: nothing is fetched for it
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
# only what the program is made of, so that a change elsewhere changes nothing
RUN cargo build --locked --profile native -p pgspan-server

FROM ${DEBIAN}
# the authorities that sslmode=verify-full trusts where the URL names none; Rust's image has them, so nothing is installed here
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/native/pgspan-server /usr/local/bin/pgspan-server
# a number, so that an orchestrator can see that it is not root
USER 65532:65532
ENV LOG_FORMAT=json
EXPOSE 8080
# SIGTERM, which is what Docker sends, drains; let it have 25 s (docker stop --time 25)
ENTRYPOINT ["pgspan-server"]
CMD ["serve"]
