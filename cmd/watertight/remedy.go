package main

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/watertight-go/watertight/broker"
)

// singleServer is the server's code for a stream with replicas on a server without
// a cluster.
const singleServer jetstream.ErrorCode = 10074

// remedy is what to do about an error of the broker that doesn't say so itself, on a
// line of its own.
func (a *app) remedy(err error) string {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, broker.ErrUnknownService):
		return "\nIs that the service's name? If it is, " + a.unprovisioned()
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrNoStreamResponse):
		return "\nIt seems that " + a.unprovisioned()
	case errors.As(err, &api) && api.ErrorCode == singleServer:
		return "\nA server without a cluster keeps each message once: --replicas 1"
	default:
		return ""
	}
}

func (a *app) unprovisioned() string {
	return "this broker isn't provisioned: `" + a.self("check") + "` says what is missing, `" + a.self("provision") + "` creates it"
}
