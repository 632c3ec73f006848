package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// Config says where the pretended world listens and how it behaves when nothing
// is wrong. The zero value works.
type Config struct {
	// PaymentAddr, MailAddr and AdminAddr are where the gateway (HTTP), the mail
	// server (SMTP) and the switches (HTTP) listen. Whoever reaches the last can
	// switch faults: keep it on this machine. Each defaults to "127.0.0.1:0", a
	// free port.
	PaymentAddr, MailAddr, AdminAddr string

	// Seed decides every throw of the dice, so that a run can be repeated. Any
	// value will do, also 0.
	Seed uint64

	// MinLatency and MaxLatency are how long the gateway and the mail server
	// think about one request, spread evenly by Seed. When both are zero they
	// are 2 ms and 8 ms, so that figures look like those of a real network. A
	// negative MaxLatency means none at all.
	MinLatency, MaxLatency time.Duration

	// Listen opens the listeners. Nil means net.Listen. A test inside a synctest
	// bubble uses a Network's.
	Listen func(network, address string) (net.Listener, error)
}

// ErrNoHandler is returned when a target is to be deaf whose handler doesn't run
// in this process: deafness is in the handler, not in the world outside.
var ErrNoHandler = errors.New("no handler of this process can be deaf")

// World is the pretended outside world. All its methods may be called together.
type World struct {
	cfg                  Config
	payment, mail, admin *listener
	books                *books
	regimes              map[Target]*atomic.Pointer[regime]
	wrapped              map[Target]*atomic.Bool // by Deaf

	stop  context.CancelFunc
	ctx   context.Context // ended by stop; Run's own wish to end
	ended chan struct{}   // closed first when the world ends: nothing is held any more
	done  chan struct{}   // closed last
	ran   atomic.Bool
}

// New opens the listeners: the addresses are known and clients may connect, but
// nobody answers before Run.
func New(cfg Config) (*World, error) {
	if cfg.Listen == nil {
		cfg.Listen = net.Listen
	}
	if cfg.MinLatency == 0 && cfg.MaxLatency == 0 {
		cfg.MinLatency, cfg.MaxLatency = 2*time.Millisecond, 8*time.Millisecond
	}
	w := &World{
		cfg: cfg, books: newBooks(), ended: make(chan struct{}), done: make(chan struct{}),
		regimes: map[Target]*atomic.Pointer[regime]{}, wrapped: map[Target]*atomic.Bool{},
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	for _, t := range Targets() {
		w.regimes[t], w.wrapped[t] = new(atomic.Pointer[regime]), new(atomic.Bool)
		w.regimes[t].Store(newRegime(nil, cfg.Seed))
	}
	var err error
	for _, l := range []struct {
		to    **listener
		name  string
		addr  string
		count func()
	}{
		{&w.payment, "payment gateway", cfg.PaymentAddr, func() { w.books.note(func(c *Counts) { c.Payment.Connections++ }) }},
		{&w.mail, "mail server", cfg.MailAddr, func() { w.books.note(func(c *Counts) { c.Mail.Connections++ }) }},
		{&w.admin, "switches", cfg.AdminAddr, func() {}},
	} {
		if *l.to, err = w.listen(l.addr, l.count); err != nil {
			for _, opened := range w.listeners() {
				_ = opened.Close()
			}
			return nil, fmt.Errorf("listen for the simulated %s: %w", l.name, err)
		}
	}
	return w, nil
}

// Start is New, and Run in a goroutine of its own. The world ends with ctx or by
// Close.
func Start(ctx context.Context, cfg Config) (*World, error) {
	w, err := New(cfg)
	if err != nil {
		return nil, err
	}
	go func() { _ = w.Run(ctx) }() // Close waits for it
	return w, nil
}

// PaymentURL is the gateway's base address, "http://127.0.0.1:40123".
func (w *World) PaymentURL() string { return "http://" + w.payment.Addr().String() }

// MailAddr is the mail server's address, "127.0.0.1:40124". It speaks SMTP
// without TLS.
func (w *World) MailAddr() string { return w.mail.Addr().String() }

// AdminURL is the base address of the switches and counts.
func (w *World) AdminURL() string { return "http://" + w.admin.Addr().String() }

// Run serves until ctx ends or Close is called. Then it drops what faults hold,
// cuts all connections, and returns when everything it started has ended. A
// handler that is deaf at that time goes on, in its caller's goroutine. Run
// returns nil unless a listener failed. It is called once.
func (w *World) Run(ctx context.Context) error {
	if !w.ran.CompareAndSwap(false, true) {
		return errors.New("run simulated world: it runs or ran already")
	}
	defer close(w.done)
	defer w.stop()
	payment, admin := httpServer(w.gateway()), httpServer(w.Admin())
	mail := w.mailServer()

	failed := make(chan error, 3)
	var serving sync.WaitGroup
	serving.Go(func() { failed <- payment.Serve(w.payment) })
	serving.Go(func() { failed <- admin.Serve(w.admin) })
	serving.Go(func() { failed <- mail.Serve(w.mail) })

	var err error
	select {
	case <-ctx.Done():
	case <-w.ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve simulated world: %w", err)
	}
	close(w.ended)
	for _, l := range w.listeners() {
		_ = l.Close()
	}
	serving.Wait() // from here on there is no new connection
	for _, l := range w.listeners() {
		l.cut()
	}
	last := context.WithoutCancel(ctx) // with all connections cut, this only waits for their goroutines
	_ = payment.Shutdown(last)
	_ = admin.Shutdown(last)
	_ = mail.Shutdown(last)
	return err
}

// Close ends the world and returns when everything it started has ended. The
// counts can still be read.
func (w *World) Close() {
	w.stop()
	if w.ran.CompareAndSwap(false, true) { // Run never came, and is refused now
		close(w.ended)
		for _, l := range w.listeners() {
			_ = l.Close()
		}
		close(w.done)
	}
	<-w.done
}

// Set puts a target under the faults, in place of those before, and releases
// what those held. Setting none clears. It returns ErrFault when they make no
// sense, ErrNoHandler when a handler should be deaf that isn't in this process.
func (w *World) Set(t Target, fs Faults) error {
	now, ok := w.regimes[t]
	if !ok {
		return fmt.Errorf("%w: unknown target %q", ErrFault, t)
	}
	if err := fs.check(t); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	for _, f := range fs {
		if f.Kind == Deaf && !w.wrapped[t].Load() {
			return fmt.Errorf("%s: %w", t, ErrNoHandler)
		}
	}
	close(now.Swap(newRegime(append(Faults(nil), fs...), w.cfg.Seed)).over)
	return nil
}

// Clear ends a target's faults and releases what they hold.
func (w *World) Clear(t Target) {
	if now, ok := w.regimes[t]; ok {
		close(now.Swap(newRegime(nil, w.cfg.Seed)).over)
	}
}

// Faults returns what is wrong with each target now.
func (w *World) Faults() map[Target]Faults {
	m := make(map[Target]Faults, len(w.regimes))
	for t, r := range w.regimes {
		m[t] = append(Faults(nil), r.Load().faults...)
	}
	return m
}

// think is the time that work on one request takes when all is well, and what
// the Latency fault adds.
func (w *World) think(r *regime, die, id string, n uint64) {
	lo, hi := w.cfg.MinLatency, max(w.cfg.MaxLatency, w.cfg.MinLatency)
	if w.cfg.MaxLatency >= 0 {
		if d := lo + time.Duration(roll(w.cfg.Seed, die, id, n)*float64(hi-lo)); d > 0 {
			w.hold(nil, d, nil)
		}
	}
	if d := r.latency(id, n); d > 0 {
		w.hold(r.over, d, nil)
	}
}

func (w *World) listeners() []*listener {
	var ls []*listener
	for _, l := range []*listener{w.payment, w.mail, w.admin} {
		if l != nil {
			ls = append(ls, l)
		}
	}
	return ls
}

// writeTimeout is how long the mail server waits for a client to listen.
const writeTimeout = 10 * time.Second

func httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // a cut connection is what it is for
	}
}

func (w *World) mailServer() *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(w.session))
	s.Domain = "sim.invalid"
	s.EnableSMTPUTF8 = true
	s.MaxMessageBytes = 1 << 20
	s.MaxRecipients = 10
	s.ReadTimeout = 5 * time.Minute
	s.WriteTimeout = writeTimeout
	s.ErrorLog = log.New(io.Discard, "", 0)
	return s
}
