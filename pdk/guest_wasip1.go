package pdk

import (
	"encoding/json"
	"time"

	extism "github.com/extism/go-pdk"
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
	if v != nil {
		out, failure = Handle(NewContext(callout, time.Now, logTo), v, d, op, extism.Input())
	}
	if failure != nil {
		b, err := json.Marshal(failure)
		if err != nil {
			b = []byte(failure.Error())
		}
		extism.SetErrorString(string(b))
		return 1
	}
	extism.Output(out)
	return 0
}

func logTo(level, line string) {
	switch level {
	case "debug":
		extism.Log(extism.LogDebug, line)
	case "warn":
		extism.Log(extism.LogWarn, line)
	case "error":
		extism.Log(extism.LogError, line)
	default:
		extism.Log(extism.LogInfo, line)
	}
}

func callout(method, url string, header map[string]string, body []byte) *Response {
	verbs := map[string]extism.HTTPMethod{
		"GET": extism.MethodGet, "HEAD": extism.MethodHead, "POST": extism.MethodPost, "PUT": extism.MethodPut,
		"PATCH": extism.MethodPatch, "DELETE": extism.MethodDelete,
	}
	verb, ok := verbs[method]
	if !ok {
		return &Response{failed: Errorf(Unsupported, "the method %q is none of GET, HEAD, POST, PUT, PATCH, DELETE", method)}
	}
	r := extism.NewHTTPRequest(verb, url)
	for name, value := range header {
		r.SetHeader(name, value)
	}
	if body != nil {
		r.SetBody(body)
	}
	answer := r.Send()
	return &Response{Status: int(answer.Status()), Header: answer.Headers(), Body: answer.Body()}
}
