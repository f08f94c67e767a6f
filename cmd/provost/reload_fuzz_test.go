package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
)

// Whatever is done to the files, a thousand times: what runs is the last
// configuration that was valid, whole, and nothing of any other.
func TestAThousandEditsLeaveTheLastValidConfigurationRunning(t *testing.T) {
	edits := 1000
	if testing.Short() {
		edits = 100
	}
	dir := t.TempDir()
	wasm := [][]byte{turncoat(t, "71.0.0", "good"), turncoat(t, "71.0.1", "good")}
	shareCompiled(t, filepath.Join(dir, "data"))
	path, module := filepath.Join(dir, "provost.yaml"), filepath.Join(dir, "turncoat.wasm")
	write := func(file string, b []byte) { require.NoError(t, os.WriteFile(file, b, 0o600)) }
	replace := func(file string, b []byte) { write(file+".new", b); require.NoError(t, os.Rename(file+".new", file)) }

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	serial := 0
	valid := func() (text, label string) {
		serial++
		label = fmt.Sprintf("label %d", serial)
		var b strings.Builder
		fmt.Fprintf(&b, "plugins: [{name: turncoat, source: turncoat.wasm, unsigned: true}]\n")
		fmt.Fprintf(&b, "credentials: [{name: Mock, endpoint: \"http://127.0.0.1:%d\", bearer: {token: {value: t%d}}}]\n", 1000+serial%5000, serial)
		fmt.Fprintf(&b, "apps:\n  - {name: acme, label: %q, plugin: turncoat, credential: Mock, max_attempts: %d}\n", label, 1+serial%9)
		for i := range random.IntN(3) {
			fmt.Fprintf(&b, "  - {name: more-%d, plugin: turncoat, credential: Mock}\n", i)
		}
		return b.String(), label
	}
	broken := func() string {
		text, _ := valid()
		switch random.IntN(7) {
		case 0:
			return strings.Replace(text, "plugin: turncoat", "plugin: turncaot", 1)
		case 1:
			return text + "workers: many\n"
		case 2:
			return strings.Replace(text, "credential: Mock", "credential: Nobody", 1)
		case 3:
			return text + "apps: [\n"
		case 4:
			return strings.Replace(text, "{value:", "{env: NOT_THERE_AT_ALL, value:", 1)
		case 5:
			return text + "data_dir: elsewhere\n" // needs a restart
		default:
			return strings.Replace(text, "max_attempts", "mapping: [\"username = lowr(user.Username)\"], max_attempts", 1)
		}
	}

	write(module, wasm[0])
	text, label := valid()
	write(path, []byte(text))
	cfg, err := config.Load(path)
	require.NoError(t, err)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	require.NoError(t, err)
	defer func() { require.NoError(t, d.close(context.WithoutCancel(t.Context()))) }()
	var changes atomic.Int64
	ready, stopped := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		stopped <- config.Watch(ctx, path, func() []string { return sourceFiles(d.current.Load().config) }, func() {
			_, _ = d.changed(ctx, path, "file") // whether it is taken is what is looked at
			changes.Add(1)
		}, config.WatchOptions{Debounce: time.Millisecond, Ready: func() { close(ready) }})
	}()
	<-ready

	runs := func() string {
		for _, a := range d.current.Load().config.Apps {
			if a.Name == "acme" {
				return a.Label
			}
		}
		return ""
	}
	build, isBroken := 0, false
	for i := range edits {
		before := changes.Load()
		switch kind := random.IntN(10); {
		case kind < 4: // at once, as an editor that renames
			text, label = valid()
			isBroken = false
			replace(path, []byte(text))
		case kind < 6: // torn: in two pieces, with the file held open between
			text, label = valid()
			isBroken = false
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			require.NoError(t, err)
			half := random.IntN(len(text))
			_, err = f.WriteString(text[:half])
			require.NoError(t, err)
			_, err = f.WriteString(text[half:])
			require.NoError(t, err)
			require.NoError(t, f.Close())
		case kind < 9:
			isBroken = true
			replace(path, []byte(broken()))
		default: // a build that is another, or none at all
			if random.IntN(2) == 0 {
				replace(module, wasm[build][:random.IntN(len(wasm[build]))])
			}
			build = 1 - build
			replace(module, wasm[build])
		}
		deadline := time.Now().Add(2 * time.Minute) // the race detector compiles slowly
		for changes.Load() == before {
			require.True(t, time.Now().Before(deadline), "edit %d was not seen", i)
			time.Sleep(time.Millisecond)
		}
		// It may have been seen in two pieces; then it is seen again.
		for runs() != label || isBroken != (d.current.Load().refused != "") {
			require.True(t, time.Now().Before(deadline), "edit %d: %q runs, %q is the last valid one; refused: %s", i, runs(), label, d.current.Load().refused)
			time.Sleep(time.Millisecond)
		}
		running := d.current.Load()
		require.Len(t, running.rules, len(running.config.Apps))
		require.Len(t, d.catalogue.List(), 1)
		require.Contains(t, namesOfCredentials(d), running.config.Credentials[0].Endpoint)
	}
	cancel()
	require.NoError(t, <-stopped)
	require.Eventually(t, func() bool { d.catalogue.Tick(); return d.catalogue.List()[0].State == "serving" }, time.Minute, time.Millisecond)
}

// namesOfCredentials are the endpoints of the credentials that requests get.
func namesOfCredentials(d *daemon) (endpoints []string) {
	for _, c := range d.egress.List() {
		endpoints = append(endpoints, c.Endpoint)
	}
	return endpoints
}
