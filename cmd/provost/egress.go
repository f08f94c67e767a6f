package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/connector"
	"github.com/provosthq/provost/host/pace"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/sandbox"
	"github.com/provosthq/provost/pdk"
)

// egress lets connectors out through named credentials. It implements
// [connector.Egress].
type egress struct {
	*callout.Egress
	// rules name what of traces is personal; nil for none.
	rules func() []string
}

func (e egress) Do(ctx context.Context, c connector.Caller, r *sandbox.HTTPRequest) (*sandbox.HTTPResponse, host.Callout) {
	began := time.Now()
	answer := e.Egress.Do(ctx, callout.Caller{Connector: c.Connector, Version: c.Version, Credential: c.Credential, RequestID: c.RequestId, Hosts: c.Hosts,
		UserID: c.UserId, App: c.App, NoMerge: c.Foreign},
		callout.Request{Method: r.Method, URL: r.URL, Header: r.Header, Body: r.Body})
	p := answer.Record
	record := host.Callout{
		Credential: c.Credential, Method: r.Method, URL: r.URL, Status: answer.Status, Duration: time.Since(began),
		RequestBytes: int64(len(r.Body)), ResponseBytes: int64(len(answer.Body)), WaitsFor: answer.WaitsFor, Refused: answer.Refused, RetryAfter: p.RetryAfter,
		Phases:  host.Phases{Turn: p.Turn, SignIn: p.SignIn, Resolve: p.Resolve, Connect: p.Connect, TLS: p.TLS, Wait: p.Wait, Read: p.Read},
		Retries: p.Retries, Protocol: p.Protocol, Address: p.Address, Reused: p.Reused,
	}
	if secrets, wanted := host.BodiesWanted(ctx); wanted {
		var rules []string
		if e.rules != nil {
			rules = e.rules()
		}
		record.URL = callout.RedactURL(r.URL, rules, secrets...)
		record.RequestHeader, record.ResponseHeader = callout.RedactHeader(r.Header, rules, secrets...), callout.RedactHeader(answer.Header, rules, secrets...)
		record.RequestBody, record.ResponseBody = callout.Redact(r.Body, rules, secrets...), callout.Redact(answer.Body, rules, secrets...)
	} else {
		record.URL = callout.RedactQuery(record.URL)
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

// pacer holds requests to the limits that the configuration has for their
// credential and their app. It implements [callout.Pacer].
type pacer struct{ d *daemon }

func (p pacer) Take(ctx context.Context, credential, app string) (func(), error) {
	return p.d.pace.Take(ctx, p.limits(credential, app))
}

func (p pacer) Turn(ctx context.Context, credential, app string) error {
	return p.d.pace.Turn(ctx, p.limits(credential, app))
}

func (p pacer) limits(credential, app string) (list []pace.Limits) {
	now := p.d.current.Load()
	if now == nil {
		return nil
	}
	for i := range now.config.Credentials {
		if c := &now.config.Credentials[i]; c.Name == credential && (c.Limits.Rate != "" || c.Limits.Concurrency > 0) {
			list = append(list, pace.Limits{Target: c.Name, PerSecond: c.Limits.Rate.PerSecond(), Concurrency: c.Limits.Concurrency})
		}
	}
	for i := range now.config.Apps {
		if a := &now.config.Apps[i]; a.Name == app && a.Credential == credential && (a.Limits.Rate != "" || a.Limits.Concurrency > 0) {
			list = append(list, pace.Limits{Target: provision.AppTarget(a.Name), PerSecond: a.Limits.Rate.PerSecond(), Concurrency: a.Limits.Concurrency})
		}
	}
	return list
}
