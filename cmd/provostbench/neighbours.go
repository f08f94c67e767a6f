package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/cmd/provostbench/work"
	"github.com/provosthq/provost/host/sandbox"
)

const (
	neighbourCallers = 8
	// neighbourRest is how long a neighbour rests between two calls: eight take
	// a part of one core, as an operator's apps do, and what is measured is
	// what the others cost them and not how they queue for each other.
	neighbourRest  = 5 * time.Millisecond
	neighbourCalls = 300 // of each
)

// attacks are modules of testdata/hostile and what to call of them.
var attacks = []struct{ module, export string }{
	{"spin", "counting"}, {"bulk", "fill"}, {"grow", "touched"}, {"log", "flood"}, {"hostcalls", "alloc_free"},
}

// neighbours measures the calls of eight who mind their own business while
// hostile modules do what they can, against the same without those.
func neighbours(ctx context.Context) ([]figure, error) {
	wasm, err := guest(ctx, "")
	if err != nil {
		return nil, err
	}
	sb, err := sandbox.New(ctx, sandbox.Options{Warm: "describe"})
	if err != nil {
		return nil, err
	}
	defer sb.Close(ctx)
	m, err := sb.Load(ctx, "guest", wasm, sandbox.Limits{})
	if err != nil {
		return nil, err
	}
	defer m.Close(ctx)
	in := work.Input()
	env := sandbox.Env{HTTP: func(context.Context, *sandbox.HTTPRequest) *sandbox.HTTPResponse {
		return &sandbox.HTTPResponse{Status: 201, Body: work.Answer}
	}}
	measure := func() (samples, error) {
		var all sync.WaitGroup
		took, errs := make([]samples, neighbourCallers), make([]error, neighbourCallers)
		for n := range neighbourCallers {
			all.Go(func() {
				for range neighbourCalls {
					time.Sleep(neighbourRest)
					begin := time.Now()
					if _, _, err := m.Call(ctx, "create", in, env); err != nil {
						errs[n] = err
						return
					}
					took[n] = append(took[n], time.Since(begin))
				}
			})
		}
		all.Wait()
		list := slices.Concat(took...)
		slices.Sort(list)
		return list, errors.Join(errs...)
	}
	if _, err := measure(); err != nil { // warm
		return nil, err
	}
	alone, err := measure()
	if err != nil {
		return nil, err
	}
	attack, stop := context.WithCancel(ctx)
	defer stop()
	var attackers sync.WaitGroup
	for _, a := range attacks {
		wasm, err := os.ReadFile(filepath.Join("testdata", "hostile", a.module+".wasm"))
		if err != nil {
			return nil, err
		}
		h, err := sb.Load(ctx, a.module, wasm, sandbox.Limits{Time: time.Second})
		if err != nil {
			return nil, err
		}
		defer h.Close(ctx)
		attackers.Go(func() {
			for attack.Err() == nil {
				_, _, _ = h.Call(attack, a.export, nil, env) // it is to fail
			}
		})
	}
	under, err := measure()
	stop()
	attackers.Wait()
	if err != nil {
		return nil, err
	}
	return []figure{{Name: "neighbours", Ours: us(under.at(99)), Baseline: us(alone.at(99)), BaselineName: fmt.Sprintf("p99 of the same %d callers without %d hostile modules", neighbourCallers, len(attacks)), Unit: "µs"}}, nil
}
