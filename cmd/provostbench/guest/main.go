//go:build wasip1

// Command guest is the module that provostbench measures.
package main

import (
	extism "github.com/extism/go-pdk"

	"github.com/provosthq/provost/cmd/provostbench/work"
	"github.com/provosthq/provost/pdk"
)

func init() { pdk.Register(work.Connector{}, work.Description) }

// plain runs on any Extism host: the answer of the host is a config value.
//
//go:wasmexport plain
func plain() int32 {
	answer, _ := extism.GetConfig("answer")
	out, err := work.Plain(extism.Input(), []byte(answer))
	if err != nil {
		extism.SetError(err)
		return 1
	}
	extism.Output(out)
	return 0
}

// spin does arithmetic, as many steps as the input has thousand bytes.
//
//go:wasmexport spin
func spin() int32 {
	if work.Spin(uint64(len(extism.Input()))*1000) == 0 {
		return 1
	}
	return 0
}

func main() {}
