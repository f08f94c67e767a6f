package rewrite

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// reader reads the binary format. What is wrong panics with an *Error, which
// Rewrite returns.
type reader struct {
	b []byte
	i int
}

func (r *reader) fail(format string, args ...any) {
	panic(&Error{Offset: r.i, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) limit(name, format string, args ...any) {
	panic(&Error{Limit: name, Offset: r.i, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) byte() byte {
	if r.i >= len(r.b) {
		r.fail("the module ends too early")
	}
	b := r.b[r.i]
	r.i++
	return b
}

func (r *reader) skip(n int) {
	if n > len(r.b)-r.i {
		r.fail("the module ends too early")
	}
	r.i += n
}

// u32 reads an unsigned LEB128 of 32 bits.
func (r *reader) u32() uint32 {
	if r.i < len(r.b) && r.b[r.i] < 0x80 {
		r.i++
		return uint32(r.b[r.i-1])
	}
	var v uint32
	for shift := uint(0); ; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.fail("the number is too large")
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

func (r *reader) s32() int32 { return int32(r.signed(32)) }
func (r *reader) s33() int64 { return r.signed(33) }
func (r *reader) s64() int64 { return r.signed(64) }

func (r *reader) signed(size uint) int64 {
	var v int64
	for shift := uint(0); ; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if left := size - shift; left < 7 {
			// The last byte: its unused bits must repeat the sign.
			if top := int8(b<<1) >> left; b >= 0x80 || top != 0 && top != -1 {
				r.fail("the number is too large")
			}
		}
		if b < 0x80 {
			if shift+7 < 64 && b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

// count reads the length of a vector. Each element has a byte at least.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)-r.i) {
		r.fail("a list of %d does not fit into what is left", n)
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count()
	r.i += n
	return r.b[r.i-n : r.i : r.i]
}

func (r *reader) name() string {
	b := r.bytes()
	if !utf8.Valid(b) {
		r.fail("a name is not UTF-8")
	}
	return string(b)
}

// ended checks that nothing is left.
func (r *reader) ended() {
	if r.i != len(r.b) {
		r.fail("there is more than there should be")
	}
}

func (r *reader) valueType() byte {
	t := r.byte()
	switch t {
	case 0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f:
		return t
	}
	r.i--
	r.fail("the value type %#x is not supported", t)
	return 0
}

func (r *reader) valueTypes() []byte {
	n := r.count()
	start := r.i
	for range n {
		r.valueType()
	}
	return r.b[start:r.i]
}

func (r *reader) limits() limits {
	l := limits{flags: r.byte()}
	if l.flags > 3 {
		r.fail("64-bit limits are not supported")
	}
	l.min = r.u32()
	if l.flags&1 != 0 {
		if l.max = r.u32(); l.max < l.min {
			r.fail("the most, %d, is below the least, %d", l.max, l.min)
		}
	}
	return l
}

// writer writes the binary format; a nil one drops what it is given.
type writer struct{ b []byte }

func (w *writer) byte(b ...byte) {
	if w != nil {
		w.b = append(w.b, b...)
	}
}

func (w *writer) raw(b []byte) {
	if w != nil {
		w.b = append(w.b, b...)
	}
}

func (w *writer) u32(v uint32) {
	if w != nil {
		w.b = binary.AppendUvarint(w.b, uint64(v))
	}
}

func (w *writer) s64(v int64) {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			w.b = append(w.b, b)
			return
		}
		w.b = append(w.b, b|0x80)
	}
}

func (w *writer) name(s string) {
	w.u32(uint32(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) limits(l limits) {
	w.byte(l.flags)
	w.u32(l.min)
	if l.flags&1 != 0 {
		w.u32(l.max)
	}
}

// section writes a section with what fill writes.
func (w *writer) section(id byte, fill func(w *writer)) {
	var body writer
	fill(&body)
	w.byte(id)
	w.u32(uint32(len(body.b)))
	w.raw(body.b)
}
