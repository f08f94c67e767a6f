package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// undumpable keeps what this process has in memory, secrets among it, from
// whoever is not root: no core is written when it dies, nobody of the same user
// may attach to it or read its memory, and a dump that root takes all the same
// (gcore, systemd-coredump) has no memory in it, unless root insists.
func undumpable() error {
	var errs []error
	// Before the others: afterwards the file is root's.
	if err := os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0); err != nil {
		errs = append(errs, err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("no bound on cores: %w", err))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("the memory stays readable to its user: %w", err))
	}
	return errors.Join(errs...)
}
