package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
)

// supervisor is who started the daemon and wants to know how it is: systemd, by
// sd_notify(3). Where nobody listens, nothing is said.
type supervisor struct {
	log *slog.Logger
	// up: it was told that the daemon serves.
	up atomic.Bool
}

// ready says that the daemon serves, and with what.
func (s *supervisor) ready(status string) {
	s.up.Store(true)
	s.say(sdnotify.SdNotifyReady + "\nSTATUS=" + oneLine(status))
}

// reloading says that a configuration is being loaded, and reloaded that this
// has ended, well or not. Before the daemon serves they say nothing.
func (s *supervisor) reloading() {
	if !s.up.Load() {
		return
	}
	s.say(sdnotify.SdNotifyReloading + "\n" + sdnotify.SdNotifyMonotonicUsec() + "STATUS=loading the configuration")
}

func (s *supervisor) reloaded(status string) {
	if s.up.Load() {
		s.ready(status)
	}
}

// stopping says that the daemon drains.
func (s *supervisor) stopping() {
	s.say(sdnotify.SdNotifyStopping + "\nSTATUS=draining: what has begun may end")
}

// serving is what the supervisor shows of a daemon that runs.
func serving(cfg *config.Config) string {
	return fmt.Sprintf("serving %d apps with %d connectors", len(cfg.Apps), len(cfg.Plugins))
}

func (s *supervisor) say(state string) {
	if _, err := sdnotify.SdNotify(false, state); err != nil {
		s.log.Warn("the service manager can't be told", "error", err)
	}
}

// watchdog tells the supervisor, where it wants to know, that the daemon is
// alive, until ctx ends: it answers over its own socket. That the database is
// away is no reason to be killed.
func (s *supervisor) watchdog(ctx context.Context, socket string) {
	within, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("the service manager's watchdog is not served", "error", err)
	}
	if err != nil || within == 0 {
		return
	}
	tick := time.NewTicker(within / 3)
	defer tick.Stop()
	for {
		if err := askHow(ctx, socket, "/healthz", within/3); err == nil {
			s.say(sdnotify.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			s.log.Warn("the daemon does not answer itself; the service manager may end it", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// askHow asks a daemon by its socket for one of the pages that say how it is.
// NotFound: nobody listens there. Unavailable: it is not well, and why.
func askHow(ctx context.Context, socket, path string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, ok := socketClient(socket)
	if !ok {
		return host.Errorf(host.NotFound, "no daemon listens at %s", socket)
	}
	defer func() { _ = c.close(ctx) }() // it only drops idle connections
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://provost"+path, nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return host.Errorf(host.Unavailable, "the daemon does not answer within %s: %w", within, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return host.Errorf(host.Unavailable, "%s", readiness(answer.Body))
	}
	return nil
}

// longestCredential bounds what systemd hands over (it takes 1 MiB itself).
const longestCredential = 64 << 10

// readSystemdCredential reads a credential of the service: as the service, or as
// a command beside it that may read where the service has it from.
func readSystemdCredential(name string) ([]byte, error) {
	dirs := []string{os.Getenv("CREDENTIALS_DIRECTORY")}
	if dirs[0] == "" {
		dirs = []string{"/run/credentials/provost.service", "/etc/credstore"}
	}
	for _, dir := range dirs {
		b, err := readBounded(filepath.Join(dir, name), longestCredential)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return b, err
	}
	return nil, host.Errorf(host.InvalidInput, "there is no systemd credential %s; the service gets it by LoadCredential=%s, from /etc/credstore/%s", name, name, name)
}
