package broker

// What Trim decides without a broker, for its tests.
type (
	Level = level
	Floor = floor
)

const TrimStep = trimStep

func (l level) Relief() uint64 { return l.relief() }

func Lowest(want uint64, floors []floor) (uint64, string) { return lowest(want, floors) }
