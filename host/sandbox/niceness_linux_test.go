package sandbox_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/provosthq/provost/host/sandbox"
)

// A compiler has what calls that are under way leave it, in all its threads.
func TestACompilerGivesWay(t *testing.T) {
	requireShell(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := compiling(t, sandbox.Options{CacheDir: t.TempDir(), Compiler: append([]string{"/bin/sh", "-c", `echo $$ >` + pidFile + `; exec "$0" "$1"`}, sandbox.CompilerProgram...)})
	ctx, cancel := context.WithCancel(t.Context())
	m, err := r.Load(ctx, "hostile/spin", readHostile(t, "spin").wasm, sandbox.Limits{Time: time.Hour})
	require.NoError(t, err)
	require.NoError(t, os.Remove(pidFile))
	called := make(chan error, 1)
	go func() {
		_, _, err := m.Call(ctx, "counting", nil, sandbox.Env{})
		called <- err
	}()
	waitFor(t, func() bool { return m.Pool().Instances > m.Pool().Idle })
	loaded := make(chan error, 1)
	go func() {
		_, err := r.Load(ctx, "hostile", minutes(), sandbox.Limits{CompileTime: time.Hour, CompileMemoryBytes: 1 << 40})
		loaded <- err
	}()
	tasks := filepath.Join("/proc", strconv.Itoa(pidIn(t, pidFile)), "task")
	ours, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 less the niceness
	require.NoError(t, err)
	waitFor(t, func() bool {
		threads, err := os.ReadDir(tasks)
		if err != nil || len(threads) < 2 {
			return false
		}
		for _, one := range threads {
			id, err := strconv.Atoi(one.Name())
			require.NoError(t, err)
			if theirs, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && theirs >= ours {
				return false
			}
		}
		return true
	})
	cancel()
	require.Error(t, <-loaded)
	require.Error(t, <-called)
	require.NoError(t, m.Close(t.Context()))
}
