package brokertest

import "testing"

// folder returns an empty folder for a server's store, which the test's end
// removes. It is in memory where there is room: a server makes some hundred files,
// and syncs many. Not so for a benchmark, whose figures are those of a disk.
func folder(t testing.TB) string {
	t.Helper()
	if _, measured := t.(*testing.B); !measured {
		if dir := inMemory(t); dir != "" {
			return dir
		}
	}
	return t.TempDir()
}
