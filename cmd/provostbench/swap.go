package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/provosthq/provost/plugins"
)

const (
	swapInFlight = 200
	// swapAnswer is after how long the target answers, as apps on the Internet do:
	// what is measured is what a swap costs requests that are on their way, not how
	// they queue for a machine that has more of them than it can work.
	swapAnswer = 200 * time.Millisecond
	swapRounds = 12
	swapQuiet  = 4 * time.Second
	// swapAfter belongs to a swap: the new build's first calls, and the end of the
	// old one's instances.
	swapAfter = time.Second
	// swapPeople are more than are worked in all rounds.
	swapPeople = 60_000
)

// span is a time in which a swap was under way.
type span struct{ from, to time.Time }

func (s span) touches(from, to time.Time) bool { return from.Before(s.to) && s.from.Before(to) }

// swap measures the attempts of 200 requests in flight in the real daemon, from
// their begin to the store of their end, while the connector is swapped for
// builds that nobody has compiled yet, against those of the quiet times between
// the swaps.
func swap(ctx context.Context) ([]figure, error) {
	wasm, ok := plugins.Builtin("scim")
	if !ok {
		return nil, errors.New("the connector scim is not built; run make build")
	}
	dir, err := os.MkdirTemp("", "provost-swap-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	scim := scimEmpty()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(swapAnswer):
			scim.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	s := swapping{file: filepath.Join(dir, "scim.wasm"), wasm: wasm}
	if err := s.put(0); err != nil {
		return nil, err
	}
	s.daemon, err = startDaemon(ctx, dir, setup{endpoint: server.URL, app: ", operations: [Create], scope: 'true'",
		plugins: fmt.Sprintf("{name: scim, source: %q, unsigned: true, limits: {instances: %d}}", s.file, swapInFlight), rest: fmt.Sprintf("workers: %d\n", swapInFlight)})
	if err != nil {
		return nil, err
	}
	quiet, during, err := s.measure(ctx)
	if err = s.daemon.stop(err); err != nil {
		return nil, err
	}
	return []figure{
		{Name: "swap", Ours: ms(during.at(50)), Baseline: ms(quiet.at(50)), BaselineName: fmt.Sprintf("p50 of %d attempts, %d at once, quiet", len(quiet), swapInFlight), Unit: "ms"},
		{Name: "swap_p99", Ours: ms(during.at(99)), Baseline: ms(quiet.at(99)), BaselineName: fmt.Sprintf("p99 of the same; %d during %d swaps", len(during), swapRounds), Unit: "ms"},
	}, nil
}

// swapping is a daemon whose connector is swapped.
type swapping struct {
	daemon *daemon
	file   string
	wasm   []byte
}

// put makes the n-th build the one that the daemon is to serve. It does what the
// others do, and nobody has compiled it.
func (s *swapping) put(n int) error {
	if err := os.WriteFile(s.file+".new", numbered(s.wasm, n), 0o600); err != nil {
		return err
	}
	return os.Rename(s.file+".new", s.file)
}

func (s *swapping) measure(ctx context.Context) (quiet, during samples, err error) {
	if _, err := s.daemon.provost(people(swapPeople), "user", "import", "-", "--format", "csv"); err != nil {
		return nil, nil, err
	}
	began := time.Now()
	var swaps []span
	served, err := s.daemon.digest(ctx)
	for n := 1; n <= swapRounds && err == nil; n++ {
		if err = rest(ctx, swapQuiet); err != nil {
			break
		}
		from := time.Now()
		if err = s.put(n); err != nil {
			break
		}
		before := served
		for served == before && err == nil {
			if err = rest(ctx, 20*time.Millisecond); err == nil {
				served, err = s.daemon.digest(ctx)
			}
		}
		fmt.Printf("%12s took over after %s\n", served[:min(12, len(served))], time.Since(from).Round(time.Millisecond))
		if err == nil {
			err = rest(ctx, swapAfter)
		}
		swaps = append(swaps, span{from, time.Now()})
	}
	if err != nil {
		return nil, nil, err
	}
	if quiet, during, err = s.daemon.attempts(ctx, began, swaps); err == nil {
		slices.Sort(quiet)
		slices.Sort(during)
	}
	return quiet, during, err
}

// attempts are how long each attempt took that began and ended since began, and
// before the requests had been worked.
func (d *daemon) attempts(ctx context.Context, began time.Time, swaps []span) (quiet, during samples, err error) {
	last := swaps[len(swaps)-1].to
	for after := 0; ; {
		var page []struct {
			Name, State                string
			Attempt                    int
			AttemptDate, CompletedDate time.Time
		}
		if err := get(ctx, fmt.Sprintf("%s/api/v1/requests?state=Completed&state=Failed&limit=1000&after=%d", d.api, after), &page); err != nil {
			return nil, nil, err
		}
		if len(page) == 0 {
			return quiet, during, nil
		}
		for _, r := range page {
			if r.State != "Completed" || r.Attempt != 1 {
				return nil, nil, fmt.Errorf("%s ended as %s in attempt %d", r.Name, r.State, r.Attempt)
			}
			if r.AttemptDate.Before(began) || r.CompletedDate.After(last) {
				continue
			}
			list := &quiet
			for _, s := range swaps {
				if s.touches(r.AttemptDate, r.CompletedDate) {
					list = &during
				}
			}
			*list = append(*list, r.CompletedDate.Sub(r.AttemptDate))
		}
		var number int
		if _, err := fmt.Sscanf(page[len(page)-1].Name, "UPR-%d", &number); err != nil {
			return nil, nil, err
		}
		if number == after {
			return nil, nil, errors.New("the pages of requests do not go on")
		}
		after = number
	}
}

// digest is the build that serves.
func (d *daemon) digest(ctx context.Context) (string, error) {
	list, err := d.connectors(ctx)
	if err == nil && (len(list) != 1 || list[0].LastError != "") {
		err = fmt.Errorf("the connectors are %+v", list)
	}
	if err != nil {
		return "", err
	}
	return list[0].Digest, nil
}

// serving is how a connector does.
type serving struct {
	Name, State, Digest string
	LastError           string `json:"lastError"`
}

func (d *daemon) connectors(ctx context.Context) (list []serving, err error) {
	return list, get(ctx, d.api+"/api/v1/plugins", &list)
}

// numbered is a module that does the same and is another file: with a custom
// section.
func numbered(wasm []byte, n int) []byte {
	note := fmt.Appendf(nil, "\x04note%04d", n)
	return append(append(wasm[:len(wasm):len(wasm)], 0, byte(len(note))), note...)
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
