//go:build unix

package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is address space that a guest's memory grows into: it never moves,
// and what was not touched takes no room.
type mapping struct{ b []byte }

func newMapping(size int) (*mapping, error) {
	b, err := unix.Mmap(-1, 0, max(size, 1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|noReserve)
	if err != nil {
		return nil, fmt.Errorf("address space of %d bytes: %w", size, err)
	}
	return &mapping{b}, nil
}

func (m *mapping) free() {
	if m.b != nil {
		_ = unix.Munmap(m.b) // fails only for what was not mapped
		m.b = nil
	}
}

// discard makes a range zero and gives its room back. Both ends are multiples
// of 64 KiB.
func (m *mapping) discard(from, to int) {
	p := unsafe.Pointer(&m.b[from])
	if _, err := unix.MmapPtr(-1, 0, p, uintptr(to-from), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_FIXED|noReserve); err != nil {
		clear(m.b[from:to])
	}
}
