// Command prober is a connector that sends whatever requests its input lists,
// and tells what the host answered: for tests of the way out.
package main

import (
	"encoding/json"
	"unsafe"

	extism "github.com/extism/go-pdk"
)

func main() {}

//go:wasmexport describe
func describe() int32 {
	extism.OutputString(`{"name":"prober","version":"1.0.0","vendor":"Example Ltd","contractVersion":1,"operations":["describe","create","reconcile"],"inputs":[{"name":"requests"},{"name":"find"}]}`)
	return 0
}

type request struct {
	Method int               `json:"method"`
	URL    string            `json:"url"`
	Header map[string]string `json:"header"`
}

// found counts how often a text stands in the guest's memory. It comes reversed,
// so that it does not stand there for having been asked for.
func found(reversed string) (times int) {
	end := make([]byte, 4<<20) // what is made last lies behind the rest
	most := uintptr(unsafe.Pointer(unsafe.SliceData(end)))
	for at := uintptr(1024); at+uintptr(len(reversed)) < most; at++ {
		same := true
		for i := range len(reversed) {
			if *(*byte)(unsafe.Add(unsafe.Pointer(nil), at+uintptr(i))) != reversed[len(reversed)-1-i] {
				same = false
				break
			}
		}
		if same {
			times++
		}
	}
	return times
}

type answer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

//go:wasmexport create
func create() int32 {
	answers, user, ok := send()
	if !ok {
		return 1
	}
	out, err := json.Marshal(map[string]any{"ExternalUserId": "x" + user, "attributes": map[string]any{"answers": answers}})
	if err != nil {
		panic(err)
	}
	extism.Output(out)
	return 0
}

//go:wasmexport reconcile
func reconcile() int32 {
	if _, _, ok := send(); !ok {
		return 1
	}
	extism.OutputString(`{"accounts":[],"reconState":"complete"}`)
	return 0
}

func send() (answers []answer, user string, ok bool) {
	var in struct {
		UserID     string `json:"userId"`
		Parameters struct {
			Requests []request `json:"requests"`
			Find     []string  `json:"find"`
		} `json:"parameters"`
	}
	if err := json.Unmarshal(extism.Input(), &in); err != nil {
		extism.SetErrorString(`{"type":"InvalidInput","message":"$: the input can't be read"}`)
		return nil, "", false
	}
	for _, r := range in.Parameters.Requests {
		q := extism.NewHTTPRequest(extism.HTTPMethod(r.Method), r.URL)
		for name, value := range r.Header {
			q.SetHeader(name, value)
		}
		got := q.Send()
		answers = append(answers, answer{int(got.Status()), string(got.Body())})
	}
	for _, reversed := range in.Parameters.Find {
		answers = append(answers, answer{Status: found(reversed)})
	}
	return answers, in.UserID, true
}
