// Command odd is a connector that does what its input tells it to, for tests
// of a host: most of it is what a connector must not do. Tests change the
// description by writing other bytes of the same length over it.
package main

import (
	"encoding/json"
	"strings"

	extism "github.com/extism/go-pdk"
)

func main() {}

// description is a variable so that the compiler decides nothing by it.
var description = `{"name":"odd","version":"1.0.0","vendor":"Example Ltd","summary":"quiet","contractVersion": 1,` +
	`"operations":["describe","discover","test_connection","create","update","reconcile"],` +
	`"settingsSchema":{"type":"object","properties":{"region":{"type":"string"},"size":{"type":"integer"}},"additionalProperties":false}}`

//go:wasmexport describe
func describe() int32 {
	switch {
	case strings.Contains(description, "calls"):
		extism.NewHTTPRequest(extism.MethodGet, "callout:Any/x").Send()
	case strings.Contains(description, "traps"):
		panic("no description today")
	case strings.Contains(description, "fails"):
		extism.SetErrorString("it would not say")
		return 1
	case strings.Contains(description, "words"):
		extism.OutputString("I am a connector")
		return 0
	}
	extism.OutputString(description)
	return 0
}

//go:wasmexport discover
func discover() int32 { return do() }

//go:wasmexport test_connection
func testConnection() int32 { return do() }

//go:wasmexport create
func create() int32 { return do() }

//go:wasmexport update
func update() int32 { return do() }

//go:wasmexport reconcile
func reconcile() int32 { return do() }

// freeze is exported and not listed.
//
//go:wasmexport freeze
func freeze() int32 { return do() }

type input struct {
	Operation  string            `json:"operation"`
	Attributes map[string]string `json:"attributes"`
	Secrets    map[string]string `json:"secrets"`
	Settings   map[string]any    `json:"settings"`
}

// do asks the target with attributes.method first, if there is one, and then
// does what attributes.do says.
func do() int32 {
	var in input
	if err := json.Unmarshal(extism.Input(), &in); err != nil {
		extism.SetErrorString(`{"type":"InvalidInput","message":"$: the input can't be read"}`)
		return 1
	}
	methods := map[string]extism.HTTPMethod{"GET": extism.MethodGet, "POST": extism.MethodPost}
	if m := in.Attributes["method"]; m != "" {
		extism.NewHTTPRequest(methods[m], "callout:Target/x").Send()
	}
	switch word := in.Attributes["do"]; word {
	case "trap":
		extism.Log(extism.LogInfo, "about to fall")
		panic("fell")
	case "spin":
		for {
		}
	case "large":
		extism.OutputString(`{"Details":"` + strings.Repeat("x", 1<<20) + `"}`)
	case "greedy":
		for kept := [][]byte{}; ; {
			kept = append(kept, make([]byte, 8<<20))
			kept[len(kept)-1][0] = 1
		}
	case "tell":
		extism.Log(extism.LogInfo, "the password is "+in.Secrets["password"])
		extism.SetErrorString(`{"type":"InvalidInput","message":"` + in.Secrets["password"] + ` is too short","attribute":"password"}`)
		return 1
	case "settings":
		b, err := json.Marshal(map[string]any{"ExternalUserId": "1", "attributes": in.Settings})
		if err != nil {
			panic(err)
		}
		extism.Output(b)
	default:
		if text, ok := strings.CutPrefix(word, "error:"); ok {
			extism.SetErrorString(text)
			return 1
		}
		extism.OutputString(word)
	}
	return 0
}
