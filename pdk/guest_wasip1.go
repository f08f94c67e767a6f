package pdk

import (
	"runtime"
	"time"
)

//go:wasmexport describe
func exportDescribe() int32 { return export(OpDescribe) }

//go:wasmexport discover
func exportDiscover() int32 { return export(OpDiscover) }

//go:wasmexport test_connection
func exportTestConnection() int32 { return export(OpTestConnection) }

//go:wasmexport create
func exportCreate() int32 { return export(OpCreate) }

//go:wasmexport read
func exportRead() int32 { return export(OpRead) }

//go:wasmexport update
func exportUpdate() int32 { return export(OpUpdate) }

//go:wasmexport deactivate
func exportDeactivate() int32 { return export(OpDeactivate) }

//go:wasmexport activate
func exportActivate() int32 { return export(OpActivate) }

//go:wasmexport freeze
func exportFreeze() int32 { return export(OpFreeze) }

//go:wasmexport unfreeze
func exportUnfreeze() int32 { return export(OpUnfreeze) }

//go:wasmexport delete
func exportDelete() int32 { return export(OpDelete) }

//go:wasmexport reconcile
func exportReconcile() int32 { return export(OpReconcile) }

//go:wasmexport check
func exportCheck() int32 { return export(OpCheck) }

// export runs one operation between the host's input and output.
func export(op Operation) int32 {
	v, d := Registered()
	var out []byte
	failure := Errorf(Internal, "the module registers no connector: call pdk.Register in an init function")
	if op == OpDescribe {
		rehearse()
	}
	if v != nil {
		out, failure = Handle(NewContext(callout, time.Now, logTo), v, d, op, hostInput())
	}
	if op == OpDescribe {
		// The state that is frozen now is the one that calls begin with: none
		// shall begin just below the next collection.
		runtime.GC()
	}
	if failure != nil {
		b, err := Marshal(failure)
		if err != nil {
			b = []byte(failure.Error())
		}
		hostErrorSet(hostPut(b))
		return 1
	}
	hostOutputSet(hostPut(out), uint64(len(out)))
	return 0
}

// rehearse does once what every call does. A host that freezes a module after
// describe spares its calls what the Go runtime sets up at the first use.
func rehearse() {
	in, err := DecodeInput([]byte(`{"operation":"create","User":{"Id":"1","Username":"a","IsActive":true},"attributes":{"name":{"givenName":"a"},"emails":[{"value":"a","primary":true}]},"changedAttributes":["name"],"settings":{"a":1.5}}`))
	if err != nil {
		return // it is a fixed text
	}
	var parsed map[string]any
	body, err := Marshal(in.Attributes)
	if err != nil || Unmarshal(body, &parsed) != nil {
		return
	}
	_, _ = Marshal(Output{ExternalUserId: "1", Attributes: parsed, Accounts: []Account{{ExternalUserId: "1", Attributes: parsed}}})
}

func logTo(level, line string) {
	if line == "" {
		return
	}
	offset := hostPut([]byte(line))
	switch level {
	case "debug":
		hostLogDebug(offset)
	case "warn":
		hostLogWarn(offset)
	case "error":
		hostLogError(offset)
	default:
		hostLogInfo(offset)
	}
	hostFree(offset)
}

func callout(method, url string, header map[string]string, body []byte) *Response {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
	default:
		return &Response{failed: Errorf(Unsupported, "the method %q is none of GET, HEAD, POST, PUT, PATCH, DELETE", method)}
	}
	meta := append(make([]byte, 0, 256), `{"method":`...)
	meta = append(appendString(meta, method), `,"url":`...)
	meta = append(appendString(meta, url), `,"headers":`...)
	meta = append(appendTexts(meta, header), '}')
	request, sent := hostPut(meta), hostPut(body)
	got := hostHTTPRequest(request, sent)
	r := &Response{Status: int(hostHTTPStatus()), Header: map[string]string{}, Body: hostGet(got)}
	hostFree(request)
	hostFree(sent)
	hostFree(got)
	if headers := hostHTTPHeaders(); headers != 0 {
		p := scanner{s: string(hostGet(headers))}
		if m, ok := p.texts(); ok {
			r.Header = m
		}
		hostFree(headers)
	}
	return r
}

// hostInput is the call's input.
func hostInput() []byte {
	b := make([]byte, hostInputLength())
	if len(b) > 0 {
		hostLoad(hostInputOffset(), b)
	}
	return b
}

// hostGet copies a block of the host's memory, nil for none.
func hostGet(offset uint64) []byte {
	if offset == 0 {
		return nil
	}
	b := make([]byte, hostLength(offset))
	if len(b) > 0 {
		hostLoad(offset, b)
	}
	return b
}

// hostPut makes a block of the host's memory; 0 for nothing.
func hostPut(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	offset := hostAlloc(uint64(len(b)))
	hostStore(b, offset)
	return offset
}

// The Extism ABI, as far as it is needed here. It is named directly: the
// package extism/go-pdk brings encoding/json into each call and moves eight
// bytes at a time.

//go:wasmimport extism:host/env alloc
func hostAlloc(n uint64) uint64

//go:wasmimport extism:host/env free
func hostFree(offset uint64)

//go:wasmimport extism:host/env length
func hostLength(offset uint64) uint64

//go:wasmimport extism:host/env input_length
func hostInputLength() uint64

//go:wasmimport extism:host/env output_set
func hostOutputSet(offset, n uint64)

//go:wasmimport extism:host/env error_set
func hostErrorSet(offset uint64)

//go:wasmimport extism:host/env http_request
func hostHTTPRequest(request, body uint64) uint64

//go:wasmimport extism:host/env http_status_code
func hostHTTPStatus() int32

//go:wasmimport extism:host/env http_headers
func hostHTTPHeaders() uint64

//go:wasmimport extism:host/env log_debug
func hostLogDebug(offset uint64)

//go:wasmimport extism:host/env log_info
func hostLogInfo(offset uint64)

//go:wasmimport extism:host/env log_warn
func hostLogWarn(offset uint64)

//go:wasmimport extism:host/env log_error
func hostLogError(offset uint64)
