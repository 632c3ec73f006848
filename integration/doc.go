// Package integration has no code: its tests run the shop against real NATS
// servers in containers, which are killed, paused, cut off and filled up.
//
//	publisher ──▶ [ NATS in a container ] ──▶ consumer.Groups of this process ──▶ internal/sim
//	                  ✗ kill -9, pause, cut, full, no quorum
//
// They ask for what nobody may lose: whatever the broker acknowledged is settled
// by every service, each order is charged once and has its stock once, and a
// process says that it isn't ready while it can't work.
//
// Without Docker they are skipped; with CI=true in the environment that is a
// failure.
package integration
