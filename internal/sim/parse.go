package sim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseFault reads what stands on a command line, "payment=hang:50%+deaf:50%":
// a target and its fault line. "payment=none" is no fault.
func ParseFault(s string) (Target, Faults, error) {
	name, line, ok := strings.Cut(s, "=")
	if !ok {
		return "", nil, fmt.Errorf("%w %q: want TARGET=FAULT, such as payment=hang", ErrFault, s)
	}
	t, err := ParseTarget(name)
	if err != nil {
		return "", nil, err
	}
	fs, err := ParseFaults(line)
	if err == nil {
		err = fs.check(t)
	}
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", t, err)
	}
	return t, fs, nil
}

// ParseTarget reads a target's name. "notification", the service, means Mail,
// its outside world.
func ParseTarget(s string) (Target, error) {
	if s == "notification" {
		return Mail, nil
	}
	if t := Target(s); slices.Contains(Targets(), t) {
		return t, nil
	}
	return "", fmt.Errorf("%w: unknown target %q%s", ErrFault, s, suggest(s, Targets()))
}

// ParseFaults reads a fault line, "hang:5s:50%+latency:200ms".
func ParseFaults(line string) (Faults, error) {
	if line == "none" {
		return nil, nil
	}
	if strings.Contains(line, "@") {
		return nil, fmt.Errorf(`%w %q: "@" means nothing here; a share follows a colon: hang:50%%`, ErrFault, line)
	}
	var fs Faults
	for part := range strings.SplitSeq(line, "+") {
		f, err := parsePart(part)
		if err != nil {
			return nil, err
		}
		fs = append(fs, f)
	}
	return fs, nil
}

func parsePart(part string) (Fault, error) {
	name, rest, more := strings.Cut(part, ":")
	f := Fault{Kind: Kind(name)}
	if !slices.Contains(Kinds(), f.Kind) {
		return Fault{}, fmt.Errorf("%w: unknown kind %q%s", ErrFault, name, suggest(name, Kinds()))
	}
	for more {
		var arg string
		arg, rest, more = strings.Cut(rest, ":")
		var err error
		if share, ok := strings.CutSuffix(arg, "%"); ok && f.Share == 0 {
			f.Share, err = strconv.ParseFloat(share, 64)
			f.Share /= 100
			if err == nil && !(f.Share > 0 && f.Share <= 1) {
				err = errors.New("out of range")
			}
		} else if ok || f.For != 0 {
			err = errors.New("given twice")
		} else if f.For, err = time.ParseDuration(arg); err == nil && f.For <= 0 {
			err = errors.New("not positive")
		}
		if err != nil {
			return Fault{}, fmt.Errorf("%w: %q: %q is neither a duration (5s) nor a share (50%%): %w", ErrFault, part, arg, err)
		}
	}
	return f, nil
}

// suggest returns what was probably meant, as the end of a sentence.
func suggest[S ~string](got string, known []S) string {
	names := make([]string, len(known))
	best, least := "", 3
	for i, k := range known {
		names[i] = string(k)
		if d := distance(got, names[i]); d < least {
			best, least = names[i], d
		}
	}
	if best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	return "; there are " + strings.Join(names, ", ")
}

// distance is how many letters must be changed, added or left out to turn a
// into b.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
