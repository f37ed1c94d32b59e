# Databus in a container: built by Swift's own image, run on a Debian with nothing but the libraries that it needs.
#
#     docker build --tag databus .
#     docker run --volume "$PWD/databus.json:/var/lib/databus/databus.json:ro" databus
#
# bin/support/check-image compares both lists of packages with what the build and the program need.

ARG SWIFT=6.3
FROM swift:${SWIFT}-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      g++ git libcurl4-openssl-dev libhiredis-dev libmicrohttpd-dev librdkafka-dev libsimdjson-dev libsqlite3-dev libssl-dev pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# What .dockerignore leaves: SwiftPM wants the folders of all targets, whatever it builds.
COPY . .
RUN swift build -c release --product databus --static-swift-stdlib

FROM debian:12-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      ca-certificates libcurl4 libhiredis0.14 libmicrohttpd12 librdkafka1 libsimdjson14 libsqlite3-0 libssl3 libstdc++6 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/databus --create-home --shell /usr/sbin/nologin databus
COPY --from=build /src/.build/release/databus /usr/local/bin/databus
# By number: Kubernetes cannot see of a name that it is not root.
USER 10001:10001
# Relative names in the configuration stand beside it, and so does state in SQLite.
WORKDIR /var/lib/databus
VOLUME /var/lib/databus
ENV DATABUS_CONFIG=/var/lib/databus/databus.json
STOPSIGNAL SIGTERM
# Whether this process says that it is ready; `databus status` says why not.
HEALTHCHECK --interval=10s --timeout=9s --start-period=60s --retries=3 \
  CMD databus status --json | grep -A 2 "\"host\": \"$(hostname)\"" | grep -q '"ready": true'
ENTRYPOINT ["databus"]
CMD ["run"]
