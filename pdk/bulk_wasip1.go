//go:build !plainextism

package pdk

import "unsafe"

// Bytes in bulk: two functions of Provost's beside the Extism ABI. A connector
// built with the tag plainextism does without and runs on any Extism host.

//go:wasmimport extism:host/user provost_load
func bulkLoad(offset uint64, to unsafe.Pointer, n uint32)

//go:wasmimport extism:host/user provost_store
func bulkStore(from unsafe.Pointer, n uint32, offset uint64)

//go:wasmimport extism:host/env input_offset
func hostInputOffset() uint64

func hostLoad(offset uint64, to []byte) { bulkLoad(offset, unsafe.Pointer(&to[0]), uint32(len(to))) }

func hostStore(from []byte, offset uint64) {
	bulkStore(unsafe.Pointer(&from[0]), uint32(len(from)), offset)
}
