package sandbox

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const noReserve = unix.MAP_NORESERVE

// image is the memory of an instance when it was frozen. On Linux all
// instances share its pages until they write to them.
type image struct {
	b    []byte
	file *os.File // nil: plain memory
}

func newImage(b []byte) *image {
	if len(b) == 0 {
		return &image{}
	}
	fd, err := unix.MemfdCreate("provost", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return &image{b: append([]byte(nil), b...)}
	}
	f := os.NewFile(uintptr(fd), "provost")
	i := &image{file: f}
	if _, err = f.Write(b); err == nil {
		i.b, err = unix.Mmap(fd, 0, len(b), unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		_ = f.Close() // it could not be used
		return &image{b: append([]byte(nil), b...)}
	}
	// Nobody can change it any more; a kernel without seals changes nothing.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	return i
}

// over makes the memory the image's.
func (i *image) over(m *mapping) {
	if len(i.b) == 0 {
		return
	}
	if i.file != nil {
		_, err := unix.MmapPtr(int(i.file.Fd()), 0, unsafe.Pointer(&m.b[0]), uintptr(len(i.b)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
		if err == nil {
			return
		}
	}
	copy(m.b, i.b)
}

func (i *image) free() {
	if i.file != nil {
		_ = unix.Munmap(i.b) // fails only for what was not mapped
		_ = i.file.Close()   // it is only memory
	}
	i.b, i.file = nil, nil
}
