//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"

	"github.com/provosthq/provost/host"
)

// belongLike gives a file that root has made to the owner and group of a folder,
// so that a daemon that runs as another user can use it, and lets the group read
// it where it may read the folder. For anybody else the file is his own.
func belongLike(file, folder string) error {
	if os.Getuid() != 0 {
		return nil
	}
	info, err := os.Stat(folder)
	if err != nil {
		return host.Errorf(host.Internal, "%w", err)
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if err := os.Lchown(file, int(of.Uid), int(of.Gid)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return host.Errorf(host.Internal, "%w", err)
	}
	if of.Gid == 0 || info.Mode().Perm()&0o040 == 0 {
		return nil
	}
	return os.Chmod(file, 0o640)
}
