//go:build linux || darwin

package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/provosthq/provost/host/api"
)

// checkRoom looks how much of a folder's disk is free.
func checkRoom(name, dir string) api.Check {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return api.Check{Name: name, Status: api.CheckFail, Reason: fmt.Sprintf("%s: %s", dir, err)}
	}
	return roomCheck(name, dir, int64(s.Bavail)*int64(s.Bsize), int64(s.Blocks)*int64(s.Bsize))
}

// checkLimits looks at what this process may use.
func checkLimits() []api.Check {
	var checks []api.Check
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil {
		checks = append(checks, filesCheck(uint64(r.Cur)))
	}
	if limit, used, ok := cgroupMemory(); ok {
		return append(checks, memoryCheck(limit-used, limit, "its control group"))
	}
	if all, left, ok := machineMemory(); ok {
		checks = append(checks, memoryCheck(left, all, "the machine"))
	}
	return checks
}

// cgroupMemory is what the control group may use and does; ok is false where it
// has no bound. (Linux, version 2.)
func cgroupMemory() (limit, used int64, ok bool) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, 0, false
	}
	for line := range strings.Lines(string(b)) {
		group, is := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !is {
			continue
		}
		limit, errLimit := readNumber("/sys/fs/cgroup" + group + "/memory.max")
		used, errUsed := readNumber("/sys/fs/cgroup" + group + "/memory.current")
		return limit, used, errLimit == nil && errUsed == nil
	}
	return 0, 0, false
}

func readNumber(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// machineMemory is what the machine has and has left. (Linux.)
func machineMemory() (all, left int64, ok bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, false
	}
	defer func() { _ = f.Close() }() // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		switch {
		case strings.HasPrefix(lines.Text(), "MemTotal:"):
			if _, err := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); err == nil {
				all = kib << 10
			}
		case strings.HasPrefix(lines.Text(), "MemAvailable:"):
			if _, err := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); err == nil {
				left = kib << 10
			}
		}
	}
	return all, left, all > 0 && left > 0
}
