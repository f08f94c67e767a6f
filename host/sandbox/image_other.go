//go:build !linux

package sandbox

// image is the memory of an instance when it was frozen.
type image struct{ b []byte }

func newImage(b []byte) *image { return &image{append([]byte(nil), b...)} }

func (i *image) over(m *mapping) { copy(m.b, i.b) }

func (i *image) free() { i.b = nil }
