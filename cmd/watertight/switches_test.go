package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// panel is a simulator's switches, and what was asked of them.
type panel struct {
	refuses, silent string // a request
	asked           []string
}

func (p *panel) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	asked := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/faults/")
	p.asked = append(p.asked, asked)
	switch asked {
	case p.refuses:
		return &http.Response{StatusCode: http.StatusUnprocessableEntity, Status: "422", Body: http.NoBody}, nil
	case p.silent:
		p.silent = "" // once
		return nil, io.ErrUnexpectedEOF
	default:
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}
}

// A load leaves alone what somebody else has switched on.
func TestSwitches_EndOnlyWhatTheyBegan(t *testing.T) {
	faults := []string{"payment=hang@1s+2s", "mail=errors@2s+5s", "inventory=deaf@8s+1s"}
	for name, tt := range map[string]struct {
		panel panel
		ends  time.Duration // after the start
		fails error
		asked []string
	}{
		"all of it": {
			ends:  time.Minute,
			asked: []string{"PUT payment", "PUT mail", "DELETE payment", "DELETE mail", "PUT inventory", "DELETE inventory"},
		},
		"ended before the first":     {ends: 500 * time.Millisecond},
		"ended in the midst of two":  {ends: 2500 * time.Millisecond, asked: []string{"PUT payment", "PUT mail", "DELETE mail", "DELETE payment"}},
		"ended when one is over":     {ends: 3500 * time.Millisecond, asked: []string{"PUT payment", "PUT mail", "DELETE payment", "DELETE mail"}},
		"ended between two":          {ends: 7500 * time.Millisecond, asked: []string{"PUT payment", "PUT mail", "DELETE payment", "DELETE mail"}},
		"one is refused":             {panel: panel{refuses: "PUT mail"}, ends: time.Minute, fails: errRefused, asked: []string{"PUT payment", "PUT mail", "DELETE payment"}},
		"one may have been heard":    {panel: panel{silent: "PUT payment"}, ends: time.Minute, fails: io.ErrUnexpectedEOF, asked: []string{"PUT payment", "DELETE payment"}},
		"an end may have been heard": {panel: panel{silent: "DELETE payment"}, ends: time.Minute, fails: io.ErrUnexpectedEOF, asked: []string{"PUT payment", "PUT mail", "DELETE payment", "DELETE mail", "DELETE payment"}},
		"the last word isn't heeded": {panel: panel{refuses: "DELETE payment"}, ends: 1500 * time.Millisecond, fails: errRefused, asked: []string{"PUT payment", "DELETE payment"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plan, err := planFaults(faults, "http://sim", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				s := newSwitches("http://sim")
				s.client.Transport = &tt.panel
				ctx, cancel := context.WithTimeout(t.Context(), tt.ends)
				defer cancel()
				if err := s.follow(ctx, time.Now(), plan); !errors.Is(err, tt.fails) {
					t.Errorf("got %v, want %v", err, tt.fails)
				}
				if diff := cmp.Diff(tt.asked, tt.panel.asked); diff != "" {
					t.Errorf("asked: -want +got\n%s", diff)
				}
			})
		})
	}
}
