# watertight, and the broker its compose file runs.
#
#   docker build -t watertight .
#   docker build -t watertight-broker --target broker .
#
# GOPROXY is passed on when it is given: --build-arg GOPROXY="$(go env GOPROXY)".
# deploy/images.sh (make images) does all of this, also where no registry is.

# The official server as another user than root. A named volume takes its owner
# from the image's folder, so the folder has to be there. The version is go.mod's.
FROM golang:1.26 AS data
RUN mkdir /data

FROM nats:2.15.2 AS broker
COPY --from=data --chown=65532:65532 /data /data
USER 65532:65532

FROM golang:1.26 AS build
ARG GOPROXY
ENV CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
# The compiler's cache is of no use to the next build, which begins before it.
RUN go build -trimpath -ldflags "-s -w -X main.buildVersion=$VERSION" -o /out/watertight ./cmd/watertight && go clean -cache

FROM scratch AS watertight
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/watertight /watertight
USER 65532:65532
# Is it alive? Not: can it work. What waits for its broker must not be replaced.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/watertight", "healthcheck"]
ENTRYPOINT ["/watertight"]
