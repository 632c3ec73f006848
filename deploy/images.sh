#!/usr/bin/env bash
# images.sh [base|nats] makes the images that docker-compose.yml and the tests run.
#
#   deploy/images.sh        the base images, watertight and watertight-broker
#   deploy/images.sh base   the base images only: golang and nats
#   deploy/images.sh nats   the nats image only, which is all that the tests need
#
# A base image that is here, or that a registry gives, is used as it is. Where no
# registry answers (an air-gapped shop, a plane), a stand-in of the same name and
# shape is made of what is on this machine: its Go tree, and nats-server built from
# the module of the very version. For that the machine has to be a Linux one of the
# daemon's architecture. `docker rmi golang:… nats:…` and a registry bring back the
# published ones.
set -euo pipefail
cd "$(dirname "$0")/.."

# The names stand in the Dockerfile and nowhere else.
golang=$(sed -n 's/^FROM \(golang:[^ ]*\) AS build$/\1/p' Dockerfile)
nats=$(sed -n 's/^FROM \(nats:[^ ]*\) AS broker$/\1/p' Dockerfile)
: "${golang:?no golang image in the Dockerfile}" "${nats:?no nats image in the Dockerfile}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { echo "images: $*" >&2; }

# have IMAGE holds if the image is here now.
have() {
	docker image inspect "$1" >/dev/null 2>&1 && return
	say "pulling $1"
	timeout 300 docker pull -q "$1" >/dev/null 2>"$scratch/pull" && return
	say "no registry gives $1 ($(tail -n 1 "$scratch/pull")); making a stand-in"
	return 1
}

# static_busybox FILE puts a static busybox there: this machine's, or Debian's package.
static_busybox() {
	local own
	if own=$(command -v busybox) && ! ldd "$own" >/dev/null 2>&1; then
		cp "$own" "$1"
		return
	fi
	(cd "$scratch" && apt-get -o APT::Sandbox::User=root download -qq busybox-static && dpkg -x busybox-static_*.deb deb)
	cp "$scratch/deb/bin/busybox" "$1"
}

# golang_stand_in makes the image in which the Dockerfile builds: a shell, a few
# commands, the certificates, and Go where the published image has it.
golang_stand_in() {
	local root=$scratch/golang goroot command
	goroot=$(go env GOROOT)
	case $(go env GOVERSION) in
	"go${golang#*:}" | "go${golang#*:}".*) ;;
	*)
		say "this machine has $(go env GOVERSION), which can't stand in for $golang"
		return 1
		;;
	esac
	mkdir -p "$root"/{bin,etc/ssl/certs,go,root,tmp,usr/local}
	chmod 1777 "$root/tmp"
	static_busybox "$root/bin/busybox"
	for command in sh ls mkdir cp cat env; do ln -s busybox "$root/bin/$command"; done
	cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	tar -C "$root" -cf "$scratch/golang.tar" .
	tar -C "$goroot" -rf "$scratch/golang.tar" --exclude=./test --exclude=./doc --exclude=./api --transform 's,^\.,./usr/local/go,' .
	docker import \
		-c 'ENV PATH=/go/bin:/usr/local/go/bin:/bin GOPATH=/go GOTOOLCHAIN=local' -c 'WORKDIR /go' \
		-m "stand-in for $golang" "$scratch/golang.tar" "$golang" >/dev/null
	rm "$scratch/golang.tar"
}

# nats_stand_in makes the server's image in the shape of the published one.
nats_stand_in() {
	mkdir "$scratch/nats"
	CGO_ENABLED=0 GOBIN="$scratch/nats" go install -trimpath -ldflags '-s -w' "github.com/nats-io/nats-server/v2@v${nats#*:}"
	cat >"$scratch/nats/nats-server.conf" <<-'CONF'
		server_name: $SERVER_NAME
		port: 4222
		monitor_port: 8222
	CONF
	docker build -q -t "$nats" -f - "$scratch/nats" >/dev/null <<-'DOCKERFILE'
		FROM scratch
		COPY nats-server nats-server.conf /
		ENV PATH=/ SERVER_NAME=nats
		EXPOSE 4222 8222 6222
		ENTRYPOINT ["/nats-server"]
		CMD ["--config", "/nats-server.conf"]
	DOCKERFILE
}

# build IMAGE TARGET builds a target of the Dockerfile, with this machine's way to
# Go's modules.
build() {
	say "building $1"
	docker build -q --network host --build-arg GOPROXY="$(go env GOPROXY)" \
		--build-arg VERSION="$(git describe --tags --always --dirty 2>/dev/null || true)" -t "$1" --target "$2" . >/dev/null
}

case ${1-} in
"" | base | nats) ;;
*)
	say "usage: deploy/images.sh [base|nats]"
	exit 2
	;;
esac
docker version --format '{{.Server.Version}}' >"$scratch/docker" 2>&1 || {
	say "Docker doesn't answer: $(tail -n 1 "$scratch/docker")"
	exit 1
}
have "$nats" || nats_stand_in
[[ ${1-} == nats ]] && exit
have "$golang" || golang_stand_in
[[ ${1-} == base ]] && exit
build watertight watertight
build watertight-broker broker
