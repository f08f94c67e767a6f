package config

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// isBeingWritten asks for a lease of the file to read it, which the kernel
// grants while nobody has it open to write (fcntl(2), F_SETLEASE). Where the
// file is somebody else's, or its file system knows no leases, nobody can tell.
func isBeingWritten(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		// Whoever opens it meanwhile waits for a moment.
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
