package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

// pageBudget is how long a page may take at the server.
const pageBudget = 100 * time.Millisecond

// pages measures what a person waits for where there are 1,000,000 accounts,
// 100,000 requests and 100,000 users: for each listing, with each of its filters,
// sorts and searches, two pages one after the other. The figures are the slowest
// of them, and of counting up to ten thousand.
func pages(ctx context.Context, databaseURL string) (_ []figure, err error) {
	if databaseURL == "" {
		dir, err := os.MkdirTemp("", "provost-pages-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		databaseURL = "sqlite://" + filepath.Join(dir, "pages.db")
	}
	s, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	began := time.Now()
	if err := storetest.Fill(ctx, s.DB(), s.Dialect(), storetest.Rows{Users: 100_000, Accounts: 1_000_000, Requests: 100_000}); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "the rows are made, in %s\n", time.Since(began).Round(time.Second))
	var slowest time.Duration
	var which string
	for _, l := range storetest.Looks() {
		var times []time.Duration
		for range 5 {
			next := ""
			for range 2 {
				began := time.Now()
				if err := s.View(ctx, func(t *store.Tx) (err error) {
					_, next, err = l.Page(ctx, t, store.Page{Sort: l.Sort, Cursor: next, Limit: 50})
					return err
				}); err != nil {
					return nil, fmt.Errorf("%s: %w", l.Name, err)
				}
				times = append(times, time.Since(began))
				if next == "" {
					break
				}
			}
		}
		took := median(times)
		fmt.Fprintf(os.Stderr, "%9.2f ms  %s\n", ms(took), l.Name)
		if took > slowest {
			slowest, which = took, l.Name
		}
	}
	began = time.Now()
	if err := s.View(ctx, func(t *store.Tx) error {
		_, err := t.CountListedAccounts(ctx, store.AccountFilter{AppName: storetest.BigApp})
		return err
	}); err != nil {
		return nil, err
	}
	counted := time.Since(began)
	budget := fmt.Sprintf("what a page may take, with 1,000,000 accounts on %s", s.Dialect())
	return []figure{
		{Name: "pages_" + s.Dialect(), Ours: ms(slowest), Baseline: ms(pageBudget), BaselineName: budget + "; the slowest: " + which, Unit: "ms"},
		{Name: "pages_count_" + s.Dialect(), Ours: ms(counted), Baseline: ms(pageBudget), BaselineName: budget, Unit: "ms"},
	}, nil
}
