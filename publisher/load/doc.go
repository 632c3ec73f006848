// Package load places orders at a steady rate and says how the services did with
// them.
//
//	Orders ──Run──▶ orders.created ──▶ services ──▶ OUTCOMES, DLQ
//	  seed   │ intended, sent, acked                      │
//	         ▼                                            ▼
//	      Journal ◀──────────────────────────────────── Follow
//	         └──▶ Stats, Lateness, Acks, Counts, Accounts
//
// It is an open loop: each order is due at its time, whether or not anything
// before it was answered, and latency counts from then. A generator that waits
// for answers slows down with what it measures and reports milliseconds where
// customers wait for seconds.
//
//	j := load.NewJournal(order.Services()...)
//	from, err := load.Now(ctx, conn)
//	go load.Follow(ctx, conn, j, from)
//	err = load.Run(ctxOfTheLoad, conn, j, load.Config{Profile: load.Steady(300), Orders: load.Orders{Seed: 7}})
//	err = j.Wait(ctx, order.Services()...)
//	stats := j.Stats(load.Phase{From: begin, To: end})
package load
