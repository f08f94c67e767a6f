//go:build plainextism

package pdk

import "encoding/binary"

//go:wasmimport extism:host/env input_load_u8
func hostInputLoad8(offset uint64) uint32

//go:wasmimport extism:host/env input_load_u64
func hostInputLoad64(offset uint64) uint64

//go:wasmimport extism:host/env load_u8
func hostLoad8(offset uint64) uint32

//go:wasmimport extism:host/env load_u64
func hostLoad64(offset uint64) uint64

//go:wasmimport extism:host/env store_u8
func hostStore8(offset uint64, v uint32)

//go:wasmimport extism:host/env store_u64
func hostStore64(offset uint64, v uint64)

// hostInputOffset stands for the input, which the plain ABI reads by functions
// of its own.
func hostInputOffset() uint64 { return inputOffset }

const inputOffset = ^uint64(0)

func hostLoad(offset uint64, to []byte) {
	load8, load64 := hostLoad8, hostLoad64
	if offset == inputOffset {
		offset, load8, load64 = 0, hostInputLoad8, hostInputLoad64
	}
	i := 0
	for ; i+8 <= len(to); i += 8 {
		binary.LittleEndian.PutUint64(to[i:], load64(offset+uint64(i)))
	}
	for ; i < len(to); i++ {
		to[i] = byte(load8(offset + uint64(i)))
	}
}

func hostStore(from []byte, offset uint64) {
	i := 0
	for ; i+8 <= len(from); i += 8 {
		hostStore64(offset+uint64(i), binary.LittleEndian.Uint64(from[i:]))
	}
	for ; i < len(from); i++ {
		hostStore8(offset+uint64(i), uint32(from[i]))
	}
}
