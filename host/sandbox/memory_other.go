//go:build !unix

package sandbox

// mapping is memory that a guest's memory grows into without moving.
type mapping struct{ b []byte }

func newMapping(size int) (*mapping, error) { return &mapping{make([]byte, max(size, 1))}, nil }

func (m *mapping) free() { m.b = nil }

func (m *mapping) discard(from, to int) { clear(m.b[from:to]) }
