package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/term"

	"github.com/provosthq/provost/config"
	"github.com/provosthq/provost/host"
)

// newLogger writes text to a terminal and JSON elsewhere, unless the
// configuration says which. [daemon.useLog] changes what and how while it runs.
func newLogger(c config.Log, w io.Writer) *slog.Logger {
	h := &logHandler{shared: &logShared{}}
	f, isFile := w.(*os.File)
	h.shared.terminal = isFile && term.IsTerminal(int(f.Fd()))
	h.shared.use(c)
	all := &slog.HandlerOptions{Level: slog.LevelDebug - 100} // the levels are ours
	h.text, h.json = slog.NewTextHandler(w, all), slog.NewJSONHandler(w, all)
	h.kept = slog.NewJSONHandler(&h.shared.recent, all)
	return slog.New(h)
}

// useLog makes levels and format those of a configuration.
func (d *daemon) useLog(c config.Log) {
	if h, ok := d.log.Handler().(*logHandler); ok {
		h.shared.use(c)
	}
	d.catalogue.LimitLines(c.PluginLines.PerSecond())
}

// logHandler is a handler whose levels, those of single connectors too, and
// whose format change while it is used.
type logHandler struct {
	shared     *logShared
	text, json slog.Handler
	// kept writes what is kept for a support bundle.
	kept slog.Handler
	// connector is that of With, "" for none.
	connector string
	grouped   bool // attributes are of a group, and say nothing of connectors
}

// logShared is what a handler has in common with all that come from it.
type logShared struct {
	terminal bool
	now      atomic.Pointer[logLevels]
	recent   recentLines
}

type logLevels struct {
	text       bool
	level      slog.Level
	connectors map[string]slog.Level
	least      slog.Level
}

func (s *logShared) use(c config.Log) {
	next := &logLevels{text: c.Format == "text" || c.Format != "json" && s.terminal, level: levelOf(c.Level), connectors: map[string]slog.Level{}}
	next.least = next.level
	for _, one := range c.Connectors {
		next.connectors[one.Name] = levelOf(one.Level)
		next.least = min(next.least, next.connectors[one.Name])
	}
	s.now.Store(next)
}

func levelOf(name string) slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(name)) != nil {
		return slog.LevelInfo
	}
	return level
}

func (l *logLevels) of(connector string) slog.Level {
	if level, ok := l.connectors[connector]; ok {
		return level
	}
	return l.level
}

// Enabled implements [slog.Handler]. Of what may still name a connector in its
// attributes, Handle decides.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	now := h.shared.now.Load()
	if h.connector != "" {
		return level >= now.of(h.connector)
	}
	return level >= now.least
}

// Handle implements [slog.Handler].
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	now := h.shared.now.Load()
	connector := h.connector
	if connector == "" && !h.grouped {
		r.Attrs(func(a slog.Attr) bool {
			connector = connectorOf(a)
			return connector == ""
		})
	}
	if r.Level < now.of(connector) {
		return nil
	}
	if call := host.CallOf(ctx); call != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("call", call))
	}
	_ = h.kept.Handle(ctx, r) // it goes into memory
	if now.text {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

// connectorOf is the connector that an attribute names, as "acme" or "acme
// 1.4.0"; "" for none.
func connectorOf(a slog.Attr) string {
	if a.Key != "connector" || a.Value.Kind() != slog.KindString {
		return ""
	}
	name, _, _ := strings.Cut(a.Value.String(), " ")
	return name
}

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.text, next.json, next.kept = h.text.WithAttrs(attrs), h.json.WithAttrs(attrs), h.kept.WithAttrs(attrs)
	for _, a := range attrs {
		if name := connectorOf(a); name != "" && !h.grouped {
			next.connector = name
		}
	}
	return &next
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.text, next.json, next.kept, next.grouped = h.text.WithGroup(name), h.json.WithGroup(name), h.kept.WithGroup(name), true
	return &next
}
