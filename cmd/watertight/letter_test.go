package main

import (
	"io"
	"testing"
	"testing/iotest"

	"github.com/watertight-go/watertight/deadletter"
)

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, iotest.ErrTimeout }

func TestShow_FailsWhenItCannotBeWritten(t *testing.T) {
	a := &app{stdout: full{}, stderr: io.Discard}
	if err := a.show(deadletter.Letter{}); err == nil {
		t.Error("got no error, want that of the output")
	}
}
