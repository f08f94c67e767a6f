// A guest as an author writes it who only knows Extism's own Go PDK.
package main

import (
	"bytes"
	"strconv"

	"github.com/extism/go-pdk"
)

//go:wasmexport echo
func echo() int32 {
	pdk.Output(pdk.Input())
	return 0
}

//go:wasmexport shout
func shout() int32 {
	pdk.Output(bytes.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 32
		}
		return r
	}, bytes.ToValidUTF8(pdk.Input(), nil)))
	return 0
}

//go:wasmexport config
func config() int32 {
	value, ok := pdk.GetConfig(pdk.InputString())
	if !ok {
		pdk.SetErrorString("there is no such key")
		return 1
	}
	pdk.OutputString(value)
	return 0
}

//go:wasmexport vars
func vars() int32 {
	pdk.SetVar("kept", append(append(pdk.GetVar("kept"), '+'), pdk.Input()...))
	pdk.Output(pdk.GetVar("kept"))
	return 0
}

//go:wasmexport log
func log() int32 {
	for _, level := range []pdk.LogLevel{pdk.LogDebug, pdk.LogInfo, pdk.LogWarn, pdk.LogError} {
		pdk.Log(level, pdk.InputString())
	}
	pdk.Output(pdk.Input())
	return 0
}

//go:wasmexport http
func http() int32 {
	request := pdk.NewHTTPRequest(pdk.MethodPost, pdk.InputString())
	request.SetHeader("x-guest", "go")
	request.SetHeader("content-type", "text/plain")
	request.SetBody([]byte("hello from the guest"))
	answer := request.Send()
	pdk.OutputString(strconv.Itoa(int(answer.Status())) + " " + string(answer.Body()))
	return 0
}

//go:wasmexport fail
func fail() int32 {
	pdk.SetErrorString("it failed: " + pdk.InputString())
	return 1
}

//go:wasmexport panic
func boom() int32 { panic("boom") }

func main() {}
