package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/sandbox"
)

// secretWorld is what a call for one person may use; all of it says the secret.
func secretWorld(secret string, logged *[]string) sandbox.Env {
	return sandbox.Env{
		Config: map[string]string{"c": secret},
		HTTP: func(context.Context, *sandbox.HTTPRequest) *sandbox.HTTPResponse {
			return &sandbox.HTTPResponse{Status: 299, Header: map[string]string{"secret": secret}, Body: []byte(secret)}
		},
		Log: func(_ slog.Level, line string) { *logged = append(*logged, line) },
	}
}

// loadKeeper loads a module that hides and finds. "find" as it is before
// anything was hidden is what it must stay.
func loadKeeper(t *testing.T, name string, limits sandbox.Limits) (m *sandbox.Module, pristine []byte) {
	t.Helper()
	m, err := newSandbox(t).Load(t.Context(), name, readHostile(t, name).wasm, limits)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close(context.Background())) })
	pristine, _, err = m.Call(t.Context(), "find", nil, sandbox.Env{})
	require.NoError(t, err)
	again, _, err := m.Call(t.Context(), "find", nil, sandbox.Env{})
	require.NoError(t, err)
	requireSame(t, pristine, again)
	return m, pristine
}

// requireSame compares what was found, and says where it differs: a dump is
// too long to be printed.
func requireSame(t *testing.T, want, have []byte) {
	t.Helper()
	for n := 0; n < min(len(want), len(have)); n += 8 {
		w, h := want[n:min(n+8, len(want))], have[n:min(n+8, len(have))]
		require.Equal(t, w, h, "word %d of %d of what was found", n/8, len(want)/8)
	}
	require.Len(t, have, len(want))
}

func requireNothingKept(t *testing.T, m *sandbox.Module, secret string, pristine []byte) {
	t.Helper()
	var logged []string
	found, _, err := m.Call(t.Context(), "find", nil, sandbox.Env{Log: func(_ slog.Level, line string) { logged = append(logged, line) }})
	require.NoError(t, err)
	requireSame(t, pristine, found)
	require.False(t, bytes.Contains(found, []byte(secret)))
	require.False(t, bytes.Contains(found, []byte(secret[:8])))
	require.NotContains(t, strings.Join(logged, "\n"), secret[:8], "the beginning of a line was kept for the next call")
	for _, export := range []string{"find_data", "find_elem", "find_grown"} {
		output, _, err := m.Call(t.Context(), export, []byte("all there"), sandbox.Env{})
		require.NoError(t, err, export)
		require.Equal(t, "all there", string(output))
	}
}

func TestCallLeavesNothingBehind(t *testing.T) {
	m, pristine := loadKeeper(t, "keeper", sandbox.Limits{Time: 5 * time.Second, MemoryBytes: 8 << 20})
	random := rand.New(rand.NewPCG(3, 4))
	for export, want := range map[string]sandbox.Kind{
		"hide": "", "hide_in_tables": "", "hide_in_all": "",
		"hide_and_trap": sandbox.KindTrap, "hide_and_fail": sandbox.KindGuest, "hide_and_return": sandbox.KindGuest, "hide_and_spin": sandbox.KindTime,
		"hide_and_exit": sandbox.KindTrap, "hide_and_flood": sandbox.KindLimit, "hide_and_recurse": sandbox.KindTrap,
	} {
		t.Run(export, func(t *testing.T) {
			for range 2 {
				secret := fmt.Sprintf("secret-%016x-%016x", random.Uint64(), random.Uint64())
				var logged []string
				output, _, err := m.Call(t.Context(), export, []byte(secret), secretWorld(secret, &logged))
				if want == "" {
					require.NoError(t, err)
					require.Equal(t, secret, string(output), "it did hide it")
				} else {
					require.Equal(t, want, failure(t, err).Kind, "%v", err)
				}
				require.Contains(t, strings.Join(logged, "\n"), secret, "what it printed before its end is told")
				requireNothingKept(t, m, secret, pristine)
			}
		})
	}
}

func TestCallLeavesNothingBehindForAnother(t *testing.T) {
	m, pristine := loadKeeper(t, "keeper", sandbox.Limits{MemoryBytes: 8 << 20, Instances: 4, Time: time.Minute, Wait: time.Minute})
	var users sync.WaitGroup
	for user := range 8 {
		users.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(user)))
			for range 10 {
				secret := fmt.Sprintf("secret-%016x-%016x", random.Uint64(), random.Uint64())
				export := []string{"hide", "hide", "hide", "hide_in_tables", "hide_in_all", "hide_and_trap"}[random.IntN(6)]
				var logged []string
				if _, _, err := m.Call(t.Context(), export, []byte(secret), secretWorld(secret, &logged)); (err != nil) != (export == "hide_and_trap") {
					t.Errorf("%s: %v", export, err)
				}
				found, _, err := m.Call(t.Context(), "find", nil, sandbox.Env{})
				if err != nil || !bytes.Equal(found, pristine) {
					t.Errorf("after %s: something was kept (%v)", export, err)
				}
			}
		})
	}
	users.Wait()
}

func TestCallLeavesNothingBehindInReferencesAndVectors(t *testing.T) {
	m, pristine := loadKeeper(t, "keeper_references", sandbox.Limits{})
	require.Equal(t, uint64(7), binary.LittleEndian.Uint64(pristine))
	for _, secret := range []string{"odd secret", "\x01another"} {
		_, _, err := m.Call(t.Context(), "hide", []byte(secret), sandbox.Env{})
		require.NoError(t, err)
		found, _, err := m.Call(t.Context(), "find", nil, sandbox.Env{})
		require.NoError(t, err)
		requireSame(t, pristine, found)
	}
}

// What _initialize sees stays in every instance that is made from it, so it
// sees no call's world.
func TestStartUpSeesNoCallsWorld(t *testing.T) {
	m, err := newSandbox(t).Load(t.Context(), "keeper", readHostile(t, "keeper").wasm, sandbox.Limits{})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close(context.Background())) }()
	var logged []string
	secret := "secret of the first call"
	first, _, err := m.Call(t.Context(), "find", []byte(secret), secretWorld(secret, &logged))
	require.NoError(t, err)
	second, _, err := m.Call(t.Context(), "find", []byte("other one"), secretWorld("other one", &logged))
	require.NoError(t, err)
	requireSame(t, first, second)
}

func TestRandomnessIsNewInEveryCall(t *testing.T) {
	m, _ := loadKeeper(t, "keeper", sandbox.Limits{})
	seen := map[string]bool{}
	for range 20 {
		b, _, err := m.Call(t.Context(), "random", nil, sandbox.Env{})
		require.NoError(t, err)
		require.Len(t, b, 16)
		seen[string(b)] = true
	}
	require.Len(t, seen, 20)
}
