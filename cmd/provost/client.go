package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

// client speaks the API: to a running daemon over its socket, or, where none
// runs, to a host that lives in this process for as long as the command does.
// Commands see no difference.
type client struct {
	http *http.Client
	// actor is who says what is sent, on this machine.
	actor string
	// base and token are of a daemon elsewhere, which knows by the token who asks.
	base  *url.URL
	token string
	// local is the host of this process, nil where a daemon runs.
	local *daemon
	close func(context.Context) error
}

// socketClient connects to the daemon's socket; ok is false when nobody
// listens there.
func socketClient(socket string) (c *client, ok bool) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, false
	}
	_ = conn.Close() // it only asked whether somebody is there
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	return &client{
		http:  &http.Client{Transport: transport},
		close: func(context.Context) error { transport.CloseIdleConnections(); return nil },
	}, true
}

// inProcessClient speaks to a host of this process.
func inProcessClient(d *daemon) *client {
	return &client{local: d, http: &http.Client{Transport: inProcess{as(access.Everything(access.Owner, "api"), d.handler())}}, close: func(context.Context) error { return nil }}
}

// inProcess is a transport that calls a handler of this process.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, begun: make(chan answered, 1)}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	go func() {
		defer func() {
			if cut := recover(); cut == http.ErrAbortHandler {
				_ = out.CloseWithError(io.ErrUnexpectedEOF) // always nil for a pipe
			} else if cut != nil {
				panic(cut)
			}
		}()
		t.handler.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		_ = out.Close() // always nil for a pipe
	}()
	select {
	case a := <-w.begun:
		return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: a.header, Body: body, ContentLength: -1, Request: r}, nil
	case <-r.Context().Done():
		_ = body.Close() // lets the handler's next write fail
		return nil, r.Context().Err()
	}
}

// pipeWriter is the http.ResponseWriter of inProcess.
type pipeWriter struct {
	header http.Header
	out    *io.PipeWriter
	begun  chan answered
	sent   bool
}

// answered is how an answer begins. What the handler does with its header
// afterwards changes nothing any more.
type answered struct {
	status int
	header http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) Flush()              {}

func (w *pipeWriter) WriteHeader(status int) {
	if !w.sent {
		w.sent = true
		w.begun <- answered{status, w.header.Clone()}
	}
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

// do sends in (nil for none) and decodes the answer into out (nil to drop it).
// An error answer becomes a *host.Error.
func (c *client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	answer, err := c.send(ctx, method, path, query, "application/json", body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return host.Errorf(host.Internal, "the daemon's answer to %s %s can't be read: %w", method, path, err)
	}
	return nil
}

// dryRun sends what would change something, and shows what would follow.
func (c *client) dryRun(ctx context.Context, w io.Writer, format, method, path string, query url.Values, body io.Reader) error {
	answer, err := c.send(context.WithValue(ctx, dryKey{}, true), method, path, query, "application/json", body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var run api.DryRun
	if err := json.NewDecoder(answer.Body).Decode(&run); err != nil {
		return host.Errorf(host.Internal, "the daemon's answer to %s %s can't be read: %w", method, path, err)
	}
	if format != "table" {
		return term.Write(w, format, run, nil, nil)
	}
	rows := make([][]string, len(run.Changes))
	for i, ch := range run.Changes {
		rows[i] = []string{string(ch.Operation), ch.Subject, ch.Reason, driftText(ch.Differences)}
	}
	if err := term.Write(w, format, run.Changes, []string{"OPERATION", "WHO", "BECAUSE", "FROM -> TO"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d requests would be made; nothing has happened\n", run.Total)
	return nil
}

type dryKey struct{}

func (c *client) send(ctx context.Context, method, path string, query url.Values, contentType string, body io.Reader) (*http.Response, error) {
	query = maps.Clone(query)
	maps.DeleteFunc(query, func(_ string, values []string) bool { return strings.Join(values, "") == "" }) // flags that nobody gave
	u := url.URL{Scheme: "http", Host: "provost", Path: path, RawQuery: query.Encode()}
	if c.base != nil {
		u.Scheme, u.Host = c.base.Scheme, c.base.Host
		path = c.base.EscapedPath() + path
	}
	if unescaped, err := url.PathUnescape(path); err == nil { // callers have escaped the names in it
		u.Path, u.RawPath = unescaped, path
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	if ctx.Value(dryKey{}) != nil {
		r.Header.Set(api.DryRunHeader, "true")
	}
	if match, ok := ctx.Value(matchKey{}).(string); ok {
		r.Header.Set("If-Match", match)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	} else {
		r.Header.Set(api.ActorHeader, url.PathEscape(c.actor))
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, &host.Error{Code: host.Cancelled, Message: "interrupted", Err: ctx.Err()}
		}
		return nil, host.Errorf(host.Unavailable, "the daemon does not answer: %w", errors.Unwrap(err))
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	if answer.StatusCode < 400 {
		return nil, host.Errorf(host.InvalidInput, "%s leads elsewhere (HTTP %d); name the URL that the console has", u.Host, answer.StatusCode)
	}
	var p api.Problem
	if json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&p) != nil || p.Code == "" {
		return nil, host.Errorf(host.Internal, "the daemon answered %s %s with HTTP %d", method, path, answer.StatusCode)
	}
	return nil, p.AsError()
}

// upload sends a file and decodes the answer into out.
func (c *client) upload(ctx context.Context, path string, query url.Values, in io.Reader, out any) error {
	answer, err := c.send(ctx, http.MethodPost, path, query, "application/octet-stream", in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		return host.Errorf(host.Internal, "the daemon's answer to POST %s can't be read: %w", path, err)
	}
	return nil
}

// importUsers streams a file to the daemon and its progress back.
func (c *client) importUsers(ctx context.Context, in io.Reader, query url.Values, progress func(done, total int64)) (api.ImportResult, error) {
	answer, err := c.send(ctx, http.MethodPost, "/api/v1/users/import", query, "application/octet-stream", in)
	if err != nil {
		return api.ImportResult{}, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e api.ImportEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return api.ImportResult{}, host.Errorf(host.Internal, "the daemon's answer can't be read: %w", err)
		}
		switch {
		case e.Error != nil:
			return api.ImportResult{}, e.Error.AsError()
		case e.Result != nil:
			return *e.Result, nil
		default:
			progress(e.Done, e.Total)
		}
	}
	if err := lines.Err(); err != nil {
		return api.ImportResult{}, host.Errorf(host.Unavailable, "the daemon went away during the import; nothing is half done: run it again: %w", err)
	}
	return api.ImportResult{}, host.Errorf(host.Unavailable, "the daemon went away during the import; run it again")
}

// stream sends in and hands progress on until there is a result.
func stream[T any](ctx context.Context, c *client, path string, in any, progress func(done, skipped int64)) (result T, err error) {
	b, err := json.Marshal(in)
	if err != nil {
		return result, err
	}
	answer, err := c.send(ctx, http.MethodPost, path, nil, "application/json", bytes.NewReader(b))
	if err != nil {
		return result, err
	}
	defer answer.Body.Close()
	for lines := json.NewDecoder(answer.Body); ; {
		var e api.BulkEvent[T]
		if err := lines.Decode(&e); err != nil {
			return result, host.Errorf(host.Unavailable, "the daemon went away; what it had done is done: run it again for the rest: %w", err)
		}
		switch {
		case e.Error != nil:
			return result, e.Error.AsError()
		case e.Result != nil:
			return *e.Result, nil
		default:
			progress(e.Done, e.Skipped)
		}
	}
}

// openFileOrStdin opens a file to read; "-" is standard input.
func openFileOrStdin(name string, stdin io.Reader) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "%w", err)
	}
	return f, nil
}
