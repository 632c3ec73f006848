package broker

import "github.com/nats-io/nats.go/jetstream"

// NextSubject is where a durable of a stream is asked for its next messages.
func (c *Conn) NextSubject(stream, durable string) string {
	return jetstream.DefaultAPIPrefix + "CONSUMER.MSG.NEXT." + stream + "." + durable
}
