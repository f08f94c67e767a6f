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

// A compiler has what others leave it, in all its threads.
func TestACompilerGivesWay(t *testing.T) {
	requireShell(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := compiling(t, sandbox.Options{CacheDir: t.TempDir(), Compiler: append([]string{"/bin/sh", "-c", `echo $$ >` + pidFile + `; exec "$0" "$1"`}, sandbox.CompilerProgram...)})
	ctx, cancel := context.WithCancel(t.Context())
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
}
