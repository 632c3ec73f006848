// Package sim is the outside world, pretended: a payment gateway over real HTTP
// and a mail server over real SMTP, whose troubles can be switched while they
// run. It counts what it was really asked to do, so that a test, or the demo,
// judges effects from outside instead of believing the program.
//
//	payment handler ──HTTP──▶ [ die ] ──▶ charges by key and by order ┐
//	notification    ──SMTP──▶ [ die ] ──▶ mails by Message-ID         ├──▶ GET /counts
//	any handler     ─Deaf()─▶ [ die ] ──▶ the handler, late           ┘
//	                             ▲
//	PUT /faults/payment {"fault":"hang:50%+deaf:50%"}
//
// # Faults
//
// A target (payment, mail, inventory) has one fault line at a time:
//
//	LINE = "none" | PART { "+" PART }
//	PART = KIND { ":" ARGUMENT }        an argument is a duration or a share
//
//	hang[:5s]        asked and not answered until the time is over (default: for ever)
//	errors           500; by mail 451. Nothing is done
//	throttle[:2s]    429 with Retry-After (default 1s, in whole seconds); by mail 451. Nothing is done
//	late[:3s]        done at once, answered late (default 3s)
//	cut              done, then the connection is cut without an answer
//	drip[:1s]        done, then answered a byte at a time, one a second (default); by mail a line at a time
//	latency:200ms    answered later by this much; the time must be given
//	declines         the card is declined; by mail there is no such mailbox (550)
//	deaf[:5s]        the handler itself blocks and ignores its context (default: for ever), see World.Deaf
//
// A share says how many requests it strikes: "errors:30%", "hang:5s:50%". All
// kinds but latency and declines are faces of one die, so that
// "hang:50%+deaf:50%" strikes everything once; a part without a share takes
// what the others leave. Latency and declines have a die each and strike on top:
// "latency:200ms+declines:1%+hang:50%". An "@" has no meaning here and is left to
// whoever says when a fault begins and ends.
//
// Dice are thrown by hash of Config.Seed and the order, so that a run can be
// repeated. Whether a card is declined hangs on the order alone: asking again
// changes nothing. (Whether a mailbox exists, on its address.) All others are
// thrown anew for each attempt since the fault was set, so that a retry may be
// luckier; an attempt is a call of the Deaf wrapper where there is one, and a
// request otherwise. By mail "the order" is the Message-ID up to its first dot.
//
// Setting or clearing a fault releases at once what the old one holds. A hanging
// request goes on as if nothing had been, and ends without effect when its
// client has gone. A latency, like all work of a server, doesn't notice
// that the client has gone: the effect takes place, unheard.
//
// # Memory
//
// Every order and Message-ID is remembered as long as the World lives, 310 and
// 110 bytes each: an hour at 300 orders a second is about 0.45 GB.
package sim

// Banner is what a program that uses this package must say, loudly, at start.
const Banner = "PRETENDED charges and mails: no card is charged and no mail is sent; " +
	"the payment gateway and the mail server are simulated inside this program"
