package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// door is one address that the daemon answers at.
type door struct {
	key, address string
	listener     net.Listener
	server       *http.Server
}

// fronts are the addresses of the configuration. A changed one is listened at
// before the old one is given up: requests under way end there.
type fronts struct {
	d     *daemon
	guard *scrapeGuard

	mu      sync.Mutex
	ctx     context.Context // of requests; nil until the daemon serves
	running []*door
	tasks   sync.WaitGroup
}

// serve begins to answer at the addresses of a configuration.
func (f *fronts) serve(ctx context.Context, cfg *config.Config) error {
	f.mu.Lock()
	f.ctx = context.WithoutCancel(ctx)
	f.mu.Unlock()
	opened, err := f.open(cfg)
	if err != nil {
		return err
	}
	f.use(cfg, opened)
	return nil
}

// open listens at the addresses that are new, and answers nobody yet. Before
// the daemon serves there are none.
func (f *fronts) open(cfg *config.Config) (opened []*door, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return nil, nil
	}
	for key, address := range addressesOf(cfg) {
		if address == "" || slices.ContainsFunc(f.running, func(one *door) bool { return one.key == key && one.address == address }) {
			continue
		}
		l, listenErr := net.Listen("tcp", address)
		if listenErr != nil {
			err = errors.Join(err, host.Errorf(host.Unavailable, "listen.%s: %w", key, listenErr))
			continue
		}
		opened = append(opened, &door{key: key, address: address, listener: l})
	}
	if err != nil {
		closeFronts(opened)
		return nil, err
	}
	return opened, nil
}

func closeFronts(list []*door) {
	for _, one := range list {
		_ = one.listener.Close() // nobody was answered there
	}
}

func addressesOf(cfg *config.Config) map[string]string {
	return map[string]string{"api": cfg.Listen.API, "metrics": cfg.Listen.Metrics}
}

// use answers at the addresses that were opened, and no more at those that the
// configuration has not.
func (f *fronts) use(cfg *config.Config, opened []*door) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		return
	}
	addresses := addressesOf(cfg)
	var stay []*door
	for _, one := range f.running {
		if addresses[one.key] == one.address {
			stay = append(stay, one)
			continue
		}
		f.tasks.Go(func() { f.end(context.WithoutCancel(f.ctx), one) })
	}
	for _, one := range opened {
		f.begin(one)
	}
	f.running = append(stay, opened...)
	var own []netip.AddrPort
	for _, one := range f.running {
		if a, ok := one.listener.Addr().(*net.TCPAddr); ok {
			own = append(own, a.AddrPort())
		}
	}
	f.d.listeners.Store(&own)
}

func (f *fronts) begin(one *door) {
	handler, l := f.d.fromOutside(), one.listener
	if one.key == "metrics" {
		handler = f.guard.handler()
		guarded, err := f.guard.listener(f.ctx, l)
		if err != nil {
			f.d.log.Error("nobody is answered", "for", one.key, "error", err)
			return
		}
		l = guarded
	}
	one.server = f.d.newServer(f.ctx, handler)
	f.tasks.Go(func() { f.d.answer(one.server, one.key, l) })
}

func (f *fronts) end(ctx context.Context, one *door) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if one.server == nil {
		return
	}
	if err := one.server.Shutdown(ctx); err != nil {
		f.d.log.Warn("requests were cut off", "address", one.listener.Addr().String(), "error", err)
	}
}

// stop lets the requests under way end.
func (f *fronts) stop(ctx context.Context) {
	f.mu.Lock()
	for _, one := range f.running {
		f.end(ctx, one)
	}
	f.running, f.ctx = nil, nil
	f.mu.Unlock()
	f.tasks.Wait()
}

// fromOutside is what is answered at an address, to those whom the gate knows.
// The answer of an authorization comes from a browser that may be anywhere; its
// state says that it was asked for.
func (d *daemon) fromOutside() http.Handler {
	mux, all := http.NewServeMux(), d.handler()
	mux.Handle("/", d.identified(all))
	mux.Handle("GET /console/assets/", all) // anybody's, and kept by caches, so that no session's secret may come with them
	mux.Handle("GET "+api.CallbackPath, all)
	mux.HandleFunc("POST "+api.BackupPath, onSocketOnly)
	return access.Secured(d.gate, http.NewCrossOriginProtection().Handler(mux))
}

func (d *daemon) newServer(ctx context.Context, h http.Handler) *http.Server {
	stopping := make(chan struct{})
	ctx = api.WithEnd(ctx, stopping)
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return ctx }}
	s.RegisterOnShutdown(func() { close(stopping) })
	return s
}

// answer serves until the server is shut down.
func (d *daemon) answer(s *http.Server, key string, l net.Listener) {
	d.log.Info("listening", "for", key, "address", l.Addr().String())
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		d.log.Error("a listener ended", "address", l.Addr().String(), "error", err)
	}
}
