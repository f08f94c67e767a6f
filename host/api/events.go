package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// EventsPath is where live events are to be had, as server-sent events.
const EventsPath = "/api/v1/events"

// Topics are what live events are about.
var Topics = []string{"requests", "runs", "accounts", "notices"}

// Event says that something is another than it was: whoever shows it reads it
// again. It names no person.
type Event struct {
	Topic string `json:"-"`
	// App is empty for what belongs to no app.
	App  string `json:"app,omitempty"`
	Id   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	// State is the request's or the run's state, the account's link state, or of a
	// notice open or resolved.
	State string `json:"state,omitempty"`
	// Pages, Found and Expected say how far a run has come.
	Pages    int   `json:"pages,omitempty"`
	Found    int64 `json:"found,omitempty"`
	Expected int64 `json:"expected,omitempty"`
	// Many: more have changed than are told one by one.
	Many bool `json:"many,omitempty"`
}

// EventSource tells what has changed, whichever machine changed it. It is asked
// by one goroutine at a time.
type EventSource interface {
	// Begin takes how things are now for known.
	Begin(ctx context.Context) error
	// Next are the changes since Begin, or since Next was last asked.
	Next(ctx context.Context) ([]Event, error)
}

// Bounds of live events.
const (
	mostListeners  = 500
	mostOfOne      = 20 // listeners of one subject
	keptEvents     = 2000
	waitingEvents  = 512 // of one listener who is slow
	heartbeatEvery = 15 * time.Second
	longestBegin   = 5 * time.Second
	// lookEvery is how long who may not ask any more is told at most.
	lookEvery = 3 * time.Second
)

// Events hands the changes that one look at the database finds to all who
// listen. [Events.Poll] is the look: it costs nothing while nobody listens.
type Events struct {
	source EventSource
	epoch  string

	mu        sync.Mutex
	listeners map[*listener]bool
	last      int64
	kept      []numbered    // the newest, for those who come back
	begun     chan struct{} // closed once the source has
}

type numbered struct {
	Event
	number int64
}

type listener struct {
	subject string
	events  chan numbered
	missed  bool
}

// NewEvents makes them.
func NewEvents(source EventSource) *Events {
	return &Events{source: source, epoch: strings.ReplaceAll(host.NewID(), "-", "")[:12], listeners: map[*listener]bool{}, begun: make(chan struct{})}
}

// Poll looks for changes, if anybody listens. It is called again and again, by
// one goroutine.
func (e *Events) Poll(ctx context.Context) error {
	e.mu.Lock()
	listening, begun := len(e.listeners) > 0, e.hasBegun()
	if !listening && begun {
		e.begun = make(chan struct{})
	}
	e.mu.Unlock()
	switch {
	case !listening:
		return nil
	case !begun:
		if err := e.source.Begin(ctx); err != nil {
			return err
		}
		e.mu.Lock()
		// What has changed while nobody listened is in no list.
		e.kept = nil
		e.last++
		close(e.begun)
		e.mu.Unlock()
		return nil
	}
	list, err := e.source.Next(ctx)
	if err != nil {
		return err
	}
	e.tell(list)
	return nil
}

// hasBegun is for who holds mu.
func (e *Events) hasBegun() bool {
	select {
	case <-e.begun:
		return true
	default:
		return false
	}
}

func (e *Events) tell(list []Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range list {
		e.last++
		n := numbered{one, e.last}
		e.kept = append(e.kept, n)
		for l := range e.listeners {
			select {
			case l.events <- n:
			default:
				l.missed = true
			}
		}
	}
	if over := len(e.kept) - keptEvents; over > 0 {
		e.kept = slices.Clone(e.kept[over:])
	}
}

// listen begins to listen. after is the id of the last event that was seen;
// again are those since then, and missed tells that there were more.
//
// What changes after begun is closed is told.
func (e *Events) listen(subject, after string) (l *listener, again []numbered, missed bool, begun <-chan struct{}, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	own := 0
	for other := range e.listeners {
		if other.subject == subject {
			own++
		}
	}
	if len(e.listeners) >= mostListeners {
		return nil, nil, false, nil, host.Errorf(host.Unavailable, "%d listen already; ask for what you show now and then instead", mostListeners)
	}
	if own >= mostOfOne {
		return nil, nil, false, nil, host.Errorf(host.RateLimited, "%d of you listen already", mostOfOne)
	}
	if after != "" {
		missed = true
		epoch, text, _ := strings.Cut(after, "-")
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && epoch == e.epoch && n <= e.last && (len(e.kept) > 0 && n >= e.kept[0].number-1 || n == e.last) {
			missed = false
			for _, one := range e.kept {
				if one.number > n {
					again = append(again, one)
				}
			}
		}
	}
	l = &listener{subject: subject, events: make(chan numbered, waitingEvents)}
	e.listeners[l] = true
	return l, again, missed, e.begun, nil
}

func (e *Events) leave(l *listener) (missed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.listeners, l)
	return l.missed
}

func (e *Events) missedBy(l *listener) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := l.missed
	l.missed = false
	return was
}

type endKey struct{}

// WithEnd lets live events end when end is closed: a server that is to stop does
// not wait for those who listen.
func WithEnd(ctx context.Context, end <-chan struct{}) context.Context {
	return context.WithValue(ctx, endKey{}, end)
}

// stream answers with events, while who listens may ask, which still tells.
func (e *Events) stream(still func(context.Context) (bool, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { e.tellTo(w, r, still) }
}

// tellTo answers with events: id, event (the topic, or missed: read again what
// you show) and data, as JSON.
func (e *Events) tellTo(w http.ResponseWriter, r *http.Request, still func(context.Context) (bool, error)) {
	ctx, q := r.Context(), r.URL.Query()
	topics := slices.DeleteFunc(strings.Split(q.Get("topics"), ","), func(t string) bool { return t == "" })
	for _, t := range topics {
		if !slices.Contains(Topics, t) {
			refuse(w, r, &host.Error{Code: host.InvalidInput, Field: "query topics", Message: fmt.Sprintf("there is no topic %.40q; there is %s", t, strings.Join(Topics, ", "))})
			return
		}
	}
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = q.Get("after")
	}
	l, again, missed, begun, err := e.listen(subjectName(access.SubjectOf(ctx)), after)
	if err != nil {
		problem(err).write(w)
		return
	}
	defer e.leave(l)
	wanted := func(n numbered) bool {
		return (len(topics) == 0 || slices.Contains(topics, n.Topic)) && (q.Get("app") == "" || q.Get("app") == n.App) && access.At(ctx, n.App)
	}
	rc := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx
	send := func(format string, args ...any) bool {
		_, err := fmt.Fprintf(w, format, args...)
		return err == nil && rc.Flush() == nil
	}
	event := func(n numbered) bool {
		if !wanted(n) {
			return true
		}
		data, _ := json.Marshal(n.Event) // it can be written
		return send("id: %s-%d\nevent: %s\ndata: %s\n\n", e.epoch, n.number, n.Topic, data)
	}
	missing := func() bool { return send("event: missed\ndata: {}\n\n") }
	end, _ := ctx.Value(endKey{}).(<-chan struct{})
	// Whoever has the beginning of the answer, and then reads what there is, misses
	// nothing: so it waits until the source has begun.
	select {
	case <-begun:
	case <-time.After(longestBegin):
		missed = true
	case <-ctx.Done():
		return
	case <-end:
		return
	}
	if !send("retry: 3000\n\n") || missed && !missing() {
		return
	}
	for _, n := range again {
		if !event(n) {
			return
		}
	}
	beat, look := time.NewTicker(heartbeatEvery), time.NewTicker(lookEvery)
	defer beat.Stop()
	defer look.Stop()
	for ok := true; ok; {
		select {
		case n := <-l.events:
			ok = event(n)
		case <-beat.C:
			ok = send(": still here\n\n")
		case <-look.C:
			// Where nobody can say, as the database is away, nothing is told either.
			if still != nil {
				if may, err := still(ctx); err == nil && !may {
					return
				}
			}
		case <-ctx.Done():
			return
		case <-end:
			return
		}
		if ok && len(l.events) == 0 && e.missedBy(l) {
			ok = missing()
		}
	}
}
