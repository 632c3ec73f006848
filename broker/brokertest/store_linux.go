package brokertest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

const (
	memory = "/dev/shm"
	prefix = "brokertest-"

	// room is what must be free, in bytes: tests that run beside each other store
	// a few MiB each. In a container there are often 64 MiB in all.
	room = 1 << 30
)

// inMemory returns a folder in memory, or "" if there is none, not enough of it, or
// TMPDIR says where files are to be.
func inMemory(t testing.TB) string {
	t.Helper()
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < room {
		return ""
	}
	dir, err := os.MkdirTemp(memory, prefix) //nolint:usetesting // in memory, which t.TempDir isn't
	if err != nil {
		return ""
	}
	held := lock(dir)
	if _, err := os.Stat(dir); held == nil || err != nil {
		return "" // another process has swept it just now
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the store of a test broker: %v", err)
		}
		_ = held.Close()
	})
	return dir
}

// sweep removes the folders of tests that were killed: memory isn't cleaned like a
// disk. Those of tests that run are locked.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(memory, prefix+"*"))
	for _, dir := range dirs {
		if held := lock(dir); held != nil {
			_ = os.RemoveAll(dir)
			_ = held.Close()
		}
	}
}

// lock opens and locks a folder, until it is closed or the process ends; nil means
// that another holds it.
func lock(dir string) *os.File {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil
	}
	return f
}
