package main

import (
	"slices"
	"strings"
)

// shown returns a value without the secrets in it. What stands before an @ may be a
// secret wherever there is an address; without a scheme it isn't always seen to be.
func (s *setting) shown(value string) string {
	if strings.Contains(value, "://") || slices.Contains([]string{"server", "gateway", "monitor", "sim-admin"}, s.flags[0].Name) {
		return withoutSecrets(value)
	}
	return value
}

// withoutSecrets hides who logs in, and by what, in addresses: user:secret@host.
// It may hide more, and never less.
func withoutSecrets(addresses string) string {
	parts := strings.Split(addresses, "://")
	for i, p := range parts {
		if at := strings.LastIndex(p, "@"); at > 0 {
			parts[i] = "***" + p[at:]
		}
	}
	return strings.Join(parts, "://")
}
