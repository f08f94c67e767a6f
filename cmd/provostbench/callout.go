package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// callouts compares a callout with what net/http needs for the same request to
// the same server: 2 KB of JSON over a connection that is kept.
func callouts(ctx context.Context) ([]figure, error) {
	body := `{"accounts":["` + strings.Repeat("x", 2000) + `"]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body) // into a connection of ours
	}))
	defer server.Close()
	out, err := way(server.URL)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	plain := func() error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/accounts?count=100", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
		r.Header.Set("Accept", "application/json")
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		_, err = io.ReadAll(answer.Body)
		return err
	}
	ours := func() error {
		got := out.Do(ctx, callout.Caller{Connector: "scim", Credential: "X"}, callout.Request{Method: http.MethodGet, URL: "callout:X/accounts?count=100", Header: map[string]string{"Accept": "application/json"}})
		if got.Status != http.StatusOK {
			return fmt.Errorf("answered %d: %v", got.Status, got.Err)
		}
		return nil
	}
	const rounds = 6000
	took := [2][]time.Duration{}
	for i := range rounds {
		for j, do := range []func() error{ours, plain} {
			begin := time.Now()
			if err := do(); err != nil {
				return nil, err
			}
			if i >= rounds/6 { // warm
				took[j] = append(took[j], time.Since(begin))
			}
		}
	}
	peak, err := crowd(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		{Name: "callout", Ours: us(median(took[0])), Unit: "us", Baseline: us(median(took[1])), BaselineName: "the same request with net/http alone"},
		{Name: "callout_10k", Ours: peak[1], Unit: "MB", Baseline: peak[0], BaselineName: "1,000 at once; this is 10,000, heap and stacks"},
	}, nil
}

func way(endpoint string) (*callout.Egress, error) {
	out := callout.New(callout.Options{Logger: slog.New(slog.DiscardHandler)})
	return out, out.Apply([]callout.Credential{{Name: "X", Endpoint: endpoint, Timeout: time.Minute,
		SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: bearer}, Path: "bearer.token"}}}})
}

// crowd is the memory that 1,000 and 10,000 callouts at once take, of a target
// that needs its time.
func crowd(ctx context.Context) ([2]float64, error) {
	var peak [2]float64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	for i, n := range []int{1_000, 10_000} {
		out, err := way(server.URL)
		if err != nil {
			return peak, err
		}
		failures := make(chan error, n)
		var group sync.WaitGroup
		for range n {
			group.Go(func() {
				if got := out.Do(ctx, callout.Caller{Connector: "c", Credential: "X"}, callout.Request{Method: http.MethodGet, URL: "callout:X/a"}); got.Status != http.StatusOK {
					failures <- fmt.Errorf("answered %d: %v", got.Status, got.Err)
				}
			})
		}
		done := make(chan struct{})
		go func() { group.Wait(); close(done) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			case <-time.After(10 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak[i] = max(peak[i], float64(m.HeapInuse+m.StackInuse)/1e6)
			}
		}
		out.Close()
		close(failures)
		if err := <-failures; err != nil {
			return peak, err
		}
	}
	return peak, nil
}
