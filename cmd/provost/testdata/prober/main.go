// Command prober is a connector that sends whatever requests its input lists,
// and tells what the host answered: for tests of the way out.
package main

import (
	"encoding/json"

	extism "github.com/extism/go-pdk"
)

func main() {}

//go:wasmexport describe
func describe() int32 {
	extism.OutputString(`{"name":"prober","version":"1.0.0","vendor":"Example Ltd","contractVersion":1,"operations":["describe","create"]}`)
	return 0
}

type request struct {
	Method int               `json:"method"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
}

type answer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

//go:wasmexport create
func create() int32 {
	var in struct {
		Parameters struct {
			Requests []request `json:"requests"`
		} `json:"parameters"`
	}
	if err := json.Unmarshal(extism.Input(), &in); err != nil {
		extism.SetErrorString(`{"type":"InvalidInput","message":"$: the input can't be read"}`)
		return 1
	}
	var answers []answer
	for _, r := range in.Parameters.Requests {
		q := extism.NewHTTPRequest(extism.HTTPMethod(r.Method), r.URL)
		for name, value := range r.Header {
			q.SetHeader(name, value)
		}
		got := q.Send()
		answers = append(answers, answer{int(got.Status()), string(got.Body())})
	}
	out, err := json.Marshal(map[string]any{"ExternalUserId": "1", "attributes": map[string]any{"answers": answers}})
	if err != nil {
		panic(err)
	}
	extism.Output(out)
	return 0
}
