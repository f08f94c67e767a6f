//go:build unix

package sandbox

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// niceness of a compiler: beside calls it gets about a quarter of a core that
// they want, and all of one that nobody does.
const niceness = 5

// giveWay lets everybody else's work go before that of this process, as far as
// the system lets it.
func giveWay() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness)
	// On Linux that is one thread's. Those that begin later are like the one that
	// began them.
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, niceness)
		}
	}
}
