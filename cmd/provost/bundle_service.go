package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/provosthq/provost/cmd/provost/internal/term"
	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// A support bundle goes to strangers. So each of its parts is made of what is
// known to be harmless, and what others wrote, people or targets, is left out or
// masked: secrets are in none of these parts, and people's data in none but, at
// worst, a target's own words.

const bundleReadme = `This is a support bundle of Provost. It has no secrets, and of people at most
what a target has said in an error; e-mail addresses and quoted words are masked.
Look before you send it.

version.json    what runs, built of what, on what
config.yaml     the keys of the configuration; values only where they are harmless
doctor.txt      what provost doctor says
status.json     what waits and what fails
plugins.json    the connectors
metrics.txt     what Prometheus would be told
log.jsonl       the newest lines of the log, without what may name people
goroutines.txt  what the daemon is doing now
heap.pprof      where its memory was taken: go tool pprof heap.pprof
schema.json     versions of the database's schema
audit.json      the head of the audit trail
errors.txt      what could not be had
`

// part is one file of a bundle.
type part struct {
	name string
	make func(ctx context.Context, w io.Writer) error
}

// SupportBundle writes a .tar.gz. A part that can't be had is said in errors.txt.
func (s service) SupportBundle(ctx context.Context, w io.Writer) error {
	packed := gzip.NewWriter(w)
	files := tar.NewWriter(packed)
	now := time.Now().Truncate(time.Second)
	folder := "provost-support-" + now.UTC().Format("20060102-150405") + "/"
	add := func(name string, content []byte) error {
		err := files.WriteHeader(&tar.Header{Name: folder + name, Mode: 0o600, Size: int64(len(content)), ModTime: now})
		if err == nil {
			_, err = files.Write(content)
		}
		return err
	}
	if err := add("README.txt", []byte(bundleReadme)); err != nil {
		return err
	}
	var missing strings.Builder
	for _, p := range s.parts() {
		var content bytes.Buffer
		if err := p.make(ctx, &content); err != nil {
			fmt.Fprintf(&missing, "%s: %s\n", p.name, unnamed(err.Error()))
			continue
		}
		if err := add(p.name, content.Bytes()); err != nil {
			return err
		}
	}
	return errors.Join(add("errors.txt", []byte(missing.String())), files.Close(), packed.Close())
}

func (s service) parts() []part {
	asJSON := func(make func(ctx context.Context) (any, error)) func(context.Context, io.Writer) error {
		return func(ctx context.Context, w io.Writer) error {
			v, err := make(ctx)
			if err != nil {
				return err
			}
			return term.Write(w, term.FormatJSON, v, nil, nil)
		}
	}
	return []part{
		{"version.json", asJSON(func(context.Context) (any, error) { return s.builtOf(), nil })},
		{"config.yaml", func(_ context.Context, w io.Writer) error {
			return term.Write(w, term.FormatYAML, s.current.Load().config.Redacted(), nil, nil)
		}},
		{"doctor.txt", func(ctx context.Context, w io.Writer) error {
			checks, err := s.Doctor(ctx)
			if err != nil {
				return err
			}
			return showChecks(w, term.FormatTable, unnamedChecks(checks))
		}},
		{"status.json", asJSON(s.unnamedStatus)},
		{"plugins.json", asJSON(func(ctx context.Context) (any, error) {
			list, err := s.Plugins(ctx)
			if err != nil {
				return nil, err
			}
			return unnamedValue(list)
		})},
		{"metrics.txt", s.writeMetrics},
		{"log.jsonl", s.writeLog},
		{"goroutines.txt", func(_ context.Context, w io.Writer) error { return pprof.Lookup("goroutine").WriteTo(w, 1) }},
		{"heap.pprof", func(_ context.Context, w io.Writer) error { return pprof.Lookup("heap").WriteTo(w, 0) }},
		{"schema.json", asJSON(func(ctx context.Context) (any, error) {
			have, known, err := s.store.Schema(ctx)
			return map[string]any{"database": s.store.Dialect(), "version": have, "known": known}, err
		})},
		{"audit.json", asJSON(func(ctx context.Context) (any, error) {
			var v host.AuditVerification
			err := s.store.View(ctx, func(t *store.Tx) (err error) {
				v.Head, v.Anchor, err = t.AuditHead(ctx)
				v.Entries = v.Head.Number - v.Anchor.Number
				return err
			})
			return v, err
		})},
	}
}

// builtOf is what runs. Arguments and environment are not told: both may hold
// secrets.
func (s service) builtOf() map[string]any {
	v := map[string]any{"version": version, "go": runtime.Version(), "os": runtime.GOOS, "architecture": runtime.GOARCH, "cpus": runtime.NumCPU(),
		"threads": runtime.GOMAXPROCS(0), "goroutines": runtime.NumGoroutine(), "started": s.started, "now": time.Now(), "config": s.current.Load().config.Digest()}
	if info, ok := debug.ReadBuildInfo(); ok {
		modules := map[string]string{}
		for _, m := range info.Deps {
			modules[m.Path] = m.Version
		}
		v["modules"] = modules
		for _, one := range info.Settings {
			if one.Key == "vcs.revision" || one.Key == "vcs.modified" {
				v[one.Key] = one.Value
			}
		}
	}
	return v
}

// unnamedStatus is what provost status shows, without what others wrote.
func (s service) unnamedStatus(ctx context.Context) (any, error) {
	now, err := look(ctx, inProcessClient(s.daemon))
	if err != nil {
		return nil, err
	}
	for _, t := range now.Targets {
		if t.TargetState != nil && t.LastError != "" {
			t.LastError = "(left out)" // it is what the target said of somebody
		}
	}
	return unnamedValue(now)
}

// unnamedValue is a value as JSON shows it, each text of it unnamed.
func unnamedValue(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var shown any
	if err := json.Unmarshal(text, &shown); err != nil {
		return nil, err
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case string:
			return unnamed(v)
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for key := range v {
				v[key] = walk(v[key])
			}
		}
		return v
	}
	return walk(shown), nil
}

func unnamedChecks(checks []api.Check) []api.Check {
	checks = slices.Clone(checks)
	for i := range checks {
		checks[i].Reason = unnamed(checks[i].Reason)
		if strings.HasPrefix(checks[i].Name, "target ") {
			checks[i].Reason, _, _ = strings.Cut(checks[i].Reason, ": ") // what the target said is of somebody
		}
	}
	return checks
}

var (
	mailAddress = regexp.MustCompile(`[^\s"'<>(),;:=/…]+@[^\s"'<>(),;:=/]+`)
	quotedWords = regexp.MustCompile(`"[^"\n]*"?|“[^”\n]*”?`)
	urlUser     = regexp.MustCompile(`://[^\s/@"']*@`)
)

// unnamed takes out of a text what may name people: e-mail addresses and what
// stands in quotes.
func unnamed(text string) string {
	text = urlUser.ReplaceAllString(text, "://…@")
	text = mailAddress.ReplaceAllString(text, "(address)")
	return quotedWords.ReplaceAllString(text, `"…"`)
}

// writeMetrics writes what a scrape would get.
func (s service) writeMetrics(_ context.Context, w io.Writer) error {
	families, err := s.registry.Gather()
	out := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := out.Encode(f); err != nil {
			return err
		}
	}
	return err
}

// loggable are the keys of a line of the log that name no people.
var loggable = []string{"time", "level", "source", "connector", "version", "digest", "credential", "target", "app", "operation", "state", "code", "outcome", "attempt", "attempts", "took", "duration",
	"for", "address", "kind", "channel", "request", "run", "what", "rows", "refused", "dropped", "authorizations", "deliveries", "jobs", "requests", "notice", "pages", "accounts", "status", "action", "mode", "key", "head"}

// writeLog writes the newest lines, without what may name people: of a
// connector's own lines, and of errors that are about one request, only that
// there were some.
func (s service) writeLog(_ context.Context, w io.Writer) error {
	h, ok := s.log.Handler().(*logHandler)
	if !ok {
		return errors.New("no daemon runs, so there is none")
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for _, line := range h.shared.recent.all() {
		var given map[string]any
		if json.Unmarshal(line, &given) != nil {
			continue
		}
		if err := out.Encode(unnamedLine(given)); err != nil {
			return err
		}
	}
	return nil
}

func unnamedLine(given map[string]any) map[string]any {
	shown := map[string]any{}
	left := 0
	_, ofRequest := given["request"]
	for key, value := range given {
		text, isText := value.(string)
		switch {
		case key == "msg" && given["source"] != "plugin" && isText:
			shown[key] = unnamed(text)
		case key == "error" && isText && !ofRequest:
			shown[key] = unnamed(text)
		case slices.Contains(loggable, key) && isText:
			shown[key] = unnamed(text)
		case slices.Contains(loggable, key):
			if _, isNumber := value.(float64); isNumber || value == true || value == false {
				shown[key] = value
				continue
			}
			left++
		default:
			left++
		}
	}
	if left > 0 {
		shown["leftOut"] = left
	}
	return shown
}
