package audit

// What the tests stand in for.
type (
	Source   = source
	Entry    = entry
	Span     = span
	Durables = durables
)

// RunOn is Run on another source than a broker.
var RunOn = run
