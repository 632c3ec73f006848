#!/usr/bin/env bash
# smoke.sh brings the compose file up from nothing, under a name of its own, and
# does with it what a person would: sells, loses a server, gives up orders and gets
# them back, takes more containers, stops. Everything is removed afterwards, also
# after a failure. It needs the images (make images), docker-compose, curl and jq,
# and the ports of docker-compose.yml.
set -euo pipefail
cd "$(dirname "$0")/.."

export COMPOSE_PROJECT_NAME=watertight-smoke
export NATS_URL=nats://127.0.0.1:4222,nats://127.0.0.1:4223,nats://127.0.0.1:4224
monitors=http://127.0.0.1:8222,http://127.0.0.1:8223,http://127.0.0.1:8224
scratch=$(mktemp -d)
watertight=$scratch/watertight

compose() { docker-compose "$@" >>"$scratch/compose.log" 2>&1; }

finish() {
	local code=$?
	if ((code)); then
		echo "smoke: FAILED" >&2
		tail -n 20 "$scratch/compose.log" >&2
		docker-compose logs --no-color --tail 10 >&2 || true
	fi
	compose down -v || code=1
	rm -rf "$scratch"
	exit "$code"
}
trap finish EXIT

# orders N SKU prints N orders of an article, each of a customer of its own.
orders() {
	for ((i = 1; i <= $1; i++)); do
		printf '{"customer":"c-%d","email":"c-%d@example.com","currency":"EUR","lines":[{"sku":"%s","quantity":1,"unit_price":1299}]}\n' "$i" "$i" "$2"
	done
}

publish() { "$watertight" publish --generate-ids - >>"$scratch/publish.log" 2>&1; }

# await SECONDS WHAT COMMAND… runs the command until it succeeds.
await() {
	local limit=$1 what=$2 since=$SECONDS
	shift 2
	until "$@" >/dev/null 2>&1; do
		if ((SECONDS - since > limit)); then
			echo "smoke: no $what within $limit s" >&2
			return 1
		fi
		sleep 0.2
	done
	echo "smoke: $what after $((SECONDS - since)) s"
}

# charged N holds when N orders have been charged, each once, and N mails sent.
charged() {
	curl -fsS http://127.0.0.1:8091/counts |
		jq -e ".payment.charges == $1 and .payment.orders_charged == $1 and .mail.mails - .mail.repeated == $1"
}

# letters N GENERATION holds when there are N, all of them replayed so many times.
letters() {
	timeout 10 "$watertight" dlq ls -o json >"$scratch/letters"
	jq -es "flatten | length == $1 and all(.[]; .generation == $2)" "$scratch/letters"
}

go build -o "$watertight" ./cmd/watertight

since=$SECONDS
compose up -d
orders 100 MUG-RED | publish
await 30 "100 orders charged and mailed" charged 100
((SECONDS - since <= 30)) || { echo "smoke: from nothing to there took $((SECONDS - since)) s, want 30 at most" >&2; exit 1; }
await 30 "good report of check" "$watertight" check --monitor "$monitors"

leader=$(curl -fsS 'http://127.0.0.1:8222/jsz?streams=true' |
	jq -er '.account_details[].stream_detail[] | select(.name == "ORDERS") | .cluster.leader')
compose kill -s KILL "$leader"
await 15 "order accepted without $leader, which was killed," sh -c "echo '$(orders 1 MUG-BLUE)' | '$watertight' publish --generate-ids -"
compose start "$leader"
await 60 "$leader back and everything current" sh -c "'$watertight' check | grep -v sync_interval | grep -q warn && exit 1 || true"
# What was refused while there was no leader may have been stored after all.
accepted=$(curl -fsS 'http://127.0.0.1:8222/jsz?streams=true' | jq -r '.account_details[].stream_detail[] | select(.name == "ORDERS") | .state.messages')
await 60 "$accepted orders charged and mailed" charged "$accepted"

orders 3 NOT-SOLD | publish
await 30 "3 dead letters" letters 3 0
"$watertight" dlq replay --service inventory >/dev/null # to no avail: the article is still unknown
await 30 "3 dead letters again" letters 3 1
"$watertight" dlq discard --service inventory --reason rejected >/dev/null
await 30 "empty desk" letters 0 0

compose up -d --scale payment=3
orders 3000 TEA-MINT-100 | publish
await 120 "$((accepted + 3003)) orders charged and mailed, payment by three" charged "$((accepted + 3003))"
"$watertight" audit

compose stop payment inventory notification
for id in $(docker-compose ps -q payment inventory notification); do
	[[ $(docker inspect -f '{{.State.ExitCode}}' "$id") == 0 ]] || { echo "smoke: $id ended with an error" >&2; exit 1; }
done
echo "smoke: all of it holds"
