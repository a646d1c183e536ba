# Two ways to the same image: one static binary on an empty file system.
#
#   From a binary built here (no internet needed by Docker):
#     RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --release --target x86_64-unknown-linux-gnu
#     docker build --target local -t barrage .
#   From source, in a builder stage; this needs BuildKit (Docker 23 with buildx, or DOCKER_BUILDKIT=1 before):
#     docker build --target image -t barrage .
#
# `local` stands first, so that Docker's old builder, which goes through the stages in order, needs nothing from a
# registry for it. Docker's default limits do for the image; the binary raises its own limit on open descriptors.

FROM scratch AS local
COPY target/x86_64-unknown-linux-gnu/release/barrage /barrage
ENTRYPOINT ["/barrage"]

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
ENV RUSTFLAGS=-Ctarget-feature=+crt-static
RUN cargo build --release --locked --target x86_64-unknown-linux-gnu

FROM scratch AS image
COPY --from=builder /src/target/x86_64-unknown-linux-gnu/release/barrage /barrage
ENTRYPOINT ["/barrage"]
