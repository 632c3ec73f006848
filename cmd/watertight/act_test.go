package main

import (
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
)

func TestAct_StoppedHalfWay(t *testing.T) {
	for by, want := range map[syscall.Signal]int{syscall.SIGINT: exitInterrupted, syscall.SIGTERM: exitPartly} {
		ctx, cancel := context.WithCancelCause(t.Context())
		var acted []uint64
		err := (&app{stdout: io.Discard, stderr: io.Discard}).act(ctx, deed{gone: errors.New("gone")}, []actResult{{Seq: 1}, {Seq: 2}}, func(_ context.Context, r actResult) error {
			acted = append(acted, r.Seq)
			cancel(stopped{by})
			return nil
		})
		if code := exitCode(err); code != want || len(acted) != 1 {
			t.Errorf("%v after %d of 2: exit code %d, want %d", by, acted, code, want)
		}
	}
}
