package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// egress lets connectors out through named credentials. It implements
// [connector.Egress].
type egress struct{ *callout.Egress }

func (e egress) Do(ctx context.Context, c connector.Caller, r *sandbox.HTTPRequest) (*sandbox.HTTPResponse, host.Callout) {
	began := time.Now()
	answer := e.Egress.Do(ctx, callout.Caller{Connector: c.Connector, Credential: c.Credential, RequestID: c.RequestId, Hosts: c.Hosts,
		UserID: c.UserId, NoMerge: c.Foreign},
		callout.Request{Method: r.Method, URL: r.URL, Header: r.Header, Body: r.Body})
	record := host.Callout{
		Method: r.Method, URL: r.URL, Status: answer.Status, Duration: time.Since(began),
		RequestBytes: int64(len(r.Body)), ResponseBytes: int64(len(answer.Body)), WaitsFor: answer.WaitsFor,
	}
	if secrets, wanted := host.BodiesWanted(ctx); wanted {
		record.RequestBody, record.ResponseBody = callout.Redact(r.Body, secrets...), callout.Redact(answer.Body, secrets...)
	}
	if answer.Err == nil {
		return &sandbox.HTTPResponse{Status: answer.Status, Header: answer.Header, Body: answer.Body}, record
	}
	record.Status, record.Error = 0, answer.Err.Error()
	body, err := json.Marshal(answer.Err)
	if err != nil {
		body = []byte(`{"type":"` + string(pdk.Internal) + `","message":"the host's error can't be written as JSON"}`)
	}
	return &sandbox.HTTPResponse{Body: body}, record
}
