# Skywave: one static-as-possible program on a small Debian, as a user without rights.
#
#   docker build -t skywave .
#   docker run -p 8080:8080 -p 8080:8080/udp -v skywave:/var/lib/skywave skywave

FROM rust:1.95.0-bookworm AS build
WORKDIR /source
# The image's own toolchain, which is the one that rust-toolchain.toml names, without the components only tests need.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --package skywave && \
    cp target/release/skywave /usr/local/bin/skywave

FROM debian:bookworm-20250811-slim
RUN groupadd --gid 10001 skywave && \
    useradd --uid 10001 --gid skywave --no-create-home --home-dir /var/lib/skywave --shell /usr/sbin/nologin skywave && \
    install --directory --owner skywave --group skywave /var/lib/skywave
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY deploy/healthcheck /usr/local/bin/healthcheck
COPY --from=build /usr/local/bin/skywave /usr/local/bin/skywave
USER 10001:10001
WORKDIR /var/lib/skywave
VOLUME /var/lib/skywave
# HTTP and WebSocket, and WebTransport on the same port.
EXPOSE 8080/tcp 8080/udp
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["skywave"]
CMD ["dev", "--listen", "0.0.0.0:8080", "--data", "/var/lib/skywave"]
