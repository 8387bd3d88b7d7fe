# The image: one static binary and nothing else. Needs BuildKit.
#
#   docker build -t slipway .
#       compiles it.
#   docker build -t slipway --build-arg SOURCE=prebuilt --build-arg BINARY=dist/slipway .
#       takes a static binary that was built before; needs no network.
#
# The binary is linked with musl, which is made for it. A static glibc works too, today: its linker warns that
# looking names up (of registry mirrors, for one) may need glibc's shared libraries when it runs, of the very
# version that it was linked with.

# Where the binary comes from: build or prebuilt. BuildKit does not touch the other one.
ARG SOURCE=build
ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-alpine AS build
# aws-lc compiles C.
RUN apk add --no-cache gcc musl-dev
# It puts the list of crates into the binary, for scanners of images.
ARG CARGO_AUDITABLE_VERSION=0.7.7
RUN cargo install --locked "cargo-auditable@${CARGO_AUDITABLE_VERSION}"
# Where it was built is not to be seen in the binary: built again elsewhere, it has the same bytes.
ENV RUSTFLAGS="--remap-path-prefix=/usr/local/cargo=/cargo --remap-path-prefix=/src=/slipway" \
    CFLAGS="-ffile-prefix-map=/usr/local/cargo=/cargo -ffile-prefix-map=/src=/slipway"
WORKDIR /src
COPY Cargo.toml Cargo.lock askama.toml ./
# The built-in examples are part of the binary. Members of the workspace, benchmarks and tests are not, but cargo looks for
# all that Cargo.toml names.
COPY bench-builds bench-builds
COPY benches benches
COPY core core
COPY examples examples
COPY src src
COPY testkit testkit
COPY tests tests
# Crates and compiled dependencies stay in the caches of the builder: a change of src compiles src.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=slipway-target \
    cargo auditable build --locked --release && cp target/release/slipway /slipway

FROM scratch AS prebuilt
ARG BINARY=dist/slipway
COPY --chmod=0755 ${BINARY} /slipway

FROM ${SOURCE} AS binary

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Slipway" \
      org.opencontainers.image.description="A Kubernetes admission webhook that makes container builds in CI runner pods fast" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=binary /slipway /slipway
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/slipway"]
CMD ["--help"]
