package brokertest_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/watertight-go/watertight/broker/brokertest"
)

func gone(t *testing.T, path string) bool {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err != nil
}

func TestStart_StoresInMemoryUnlessTMPDIRSaysWhere(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		t.Setenv("TMPDIR", dir)
		var store string
		t.Run("TMPDIR="+dir, func(t *testing.T) {
			store = brokertest.Start(t).Store()
			if gone(t, store) {
				t.Fatalf("the server runs, and %s isn't there", store)
			}
			if dir != "" && !strings.HasPrefix(store, dir) {
				t.Errorf("the store is %s, want it below %s", store, dir)
			}
			if dir == "" && !strings.HasPrefix(store, "/dev/shm/") {
				t.Skipf("the store is %s: there is no room in /dev/shm", store)
			}
		})
		if !gone(t, store) {
			t.Errorf("%s outlives its test", store)
		}
	}
}

// A test that is killed leaves its store in memory, until the next tests begin.
func TestMain_RemovesWhatKilledTestsLeft(t *testing.T) {
	t.Setenv("TMPDIR", "")
	runs := brokertest.Start(t).Store()
	if !strings.HasPrefix(runs, "/dev/shm/") {
		t.Skipf("the store is %s: there is no room in /dev/shm", runs)
	}
	left, err := os.MkdirTemp("/dev/shm", "brokertest-") //nolint:usetesting // where stores are
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !gone(t, left) {
		t.Errorf("%s is there still", left)
	}
	if gone(t, runs) {
		t.Errorf("%s is gone, and its server runs", runs)
	}
}
