//go:build unix

package sandbox

import "golang.org/x/sys/unix"

// mostInherited bounds the descriptors that are looked at.
const mostInherited = 4096

// closeInherited closes the descriptors that this process has from whoever
// started it, besides the first three: they are for whoever started that one.
// What Go opens is closed on exec, and so told apart.
func closeInherited() {
	for fd := 3; fd < mostInherited; fd++ {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // it was not ours to write to
		}
	}
}
