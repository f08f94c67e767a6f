package connector

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/sandbox"
)

// Egress performs the HTTP of connectors. Do never fails in Go's sense: what
// went wrong is an answer with the status 0 and the contract's error as its
// body. It may be called at once from many goroutines.
type Egress interface {
	Do(ctx context.Context, caller Caller, r *sandbox.HTTPRequest) (*sandbox.HTTPResponse, host.Callout)
}

// Caller says for whom an HTTP request goes out.
type Caller struct {
	// Connector is the name in the catalogue, Credential the named credential
	// of this call, RequestId the provisioning request ("" for a trial call).
	Connector, Credential, RequestId string
	// Version is what the connector calls its own.
	Version string
	// Hosts may be reached besides the credential's endpoint.
	Hosts []string
	// UserId is the user that it is done for, "" for nobody.
	UserId string
	// Foreign: the call's input or an answer could have brought a merge field
	// ([Options]), so that none is the connector's own.
	Foreign bool
}

// Observation is one call, for metrics.
type Observation struct {
	Connector, Version, Operation string
	// Outcome is "ok" or a [host.Code].
	Outcome string
	// Limit is which limit of the sandbox ended the call, "" for none.
	Limit                          string
	Duration, HTTPDuration, Waited time.Duration
	MemoryBytes, Fuel              int64
	HTTPCalls                      int
}

// Options of a catalogue. Sandbox is required.
type Options struct {
	Sandbox *sandbox.Runtime
	// Egress is nil where no call may reach anything.
	Egress Egress
	// Logger gets the connectors' own lines; nil drops them.
	Logger *slog.Logger
	// Observe is told of every call; nil for none.
	Observe func(Observation)
	// Foreign tells whether a text could bring a merge field of a named credential
	// into what a connector makes of it; nil where none are filled in.
	Foreign func([]byte) bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Catalogue holds the connectors by name. Its methods may be called at once
// from many goroutines.
type Catalogue struct {
	options Options

	mu      sync.Mutex
	entries map[string]*entry
	live    map[*Connector]struct{} // every connector whose module is open
	closed  bool
}

// entry is what is known of one name: the connector that calls get (nil while
// none has ever loaded) and the last attempt to load it.
type entry struct {
	current   *Connector
	source    string
	lastError string
}

// Info is one line of [Catalogue.List].
type Info struct {
	Name, Version, Vendor, Digest, Source string
	Size                                  int
	LoadedAt                              time.Time
	// LastError is why the newest attempt to load failed. The connector of
	// before, if there was one, goes on.
	LastError string
}

// Pools tells how the instances of each connector that calls get are doing.
func (c *Catalogue) Pools() map[string]sandbox.PoolStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	pools := make(map[string]sandbox.PoolStats, len(c.entries))
	for name, e := range c.entries {
		if e.current != nil {
			pools[name] = e.current.module.Pool()
		}
	}
	return pools
}

// New makes an empty catalogue.
func New(o Options) *Catalogue {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Catalogue{options: o, entries: map[string]*entry{}, live: map[*Connector]struct{}{}}
}

// Load compiles, describes and checks a connector, then puts it in the place
// of the one of the same name in one step. Calls under way end on the old one,
// which closes when the last of them is back. On any failure the old one goes
// on, and [Catalogue.List] says why the new one was refused.
func (c *Catalogue) Load(ctx context.Context, s Spec) error {
	loaded, err := c.open(ctx, s)

	c.mu.Lock()
	if err == nil && c.closed {
		c.mu.Unlock()
		return c.discard(ctx, loaded)
	}
	e := c.entries[s.Name]
	if e == nil {
		e = &entry{source: s.Source}
		c.entries[s.Name] = e
	}
	if err != nil {
		e.lastError = err.Error()
		c.mu.Unlock()
		return err
	}
	old := e.current
	e.current, e.source, e.lastError = loaded, s.Source, ""
	c.live[loaded] = struct{}{}
	idle := old != nil && old.retire()
	c.mu.Unlock()

	if idle {
		c.shut(old)
	}
	return nil
}

func (c *Catalogue) discard(ctx context.Context, k *Connector) error {
	_ = k.module.Close(ctx) // the catalogue is closed; that is the error to tell
	return host.Errorf(host.Cancelled, "the catalogue is closed; connector %s was not loaded", k.name)
}

// Acquire takes a connector for one call. The second result gives it back and
// must be called when the call has ended; calling it again does nothing. A
// connector that is not there is Unavailable: it may be loaded later.
func (c *Catalogue) Acquire(name string) (*Connector, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	switch {
	case e == nil:
		return nil, nil, host.Errorf(host.Unavailable, "no connector named %q is loaded; there is %s. Name it under plugins in the configuration",
			name, c.namesLocked())
	case e.current == nil:
		return nil, nil, host.Errorf(host.Unavailable, "connector %s could not be loaded: %s", name, e.lastError)
	}
	k := e.current
	k.refs++
	var once sync.Once
	return k, func() { once.Do(func() { c.release(k) }) }, nil
}

func (c *Catalogue) namesLocked() string {
	if len(c.entries) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(c.entries)), ", ")
}

func (c *Catalogue) release(k *Connector) {
	c.mu.Lock()
	k.refs--
	last := k.retired && k.refs == 0
	c.mu.Unlock()
	if last {
		c.shut(k)
	}
}

// shut closes the module of a connector that nobody can take any more and
// that no call uses.
func (c *Catalogue) shut(k *Connector) {
	if err := k.module.Close(context.Background()); err != nil {
		c.options.Logger.Warn("a connector's module did not close", "connector", k.label(), "error", err)
	}
	c.mu.Lock()
	delete(c.live, k)
	c.mu.Unlock()
	close(k.gone)
}

// Remove takes a connector out. Calls under way end on it.
func (c *Catalogue) Remove(name string) {
	c.mu.Lock()
	e := c.entries[name]
	delete(c.entries, name)
	idle := e != nil && e.current != nil && e.current.retire()
	c.mu.Unlock()
	if idle {
		c.shut(e.current)
	}
}

// List shows every connector by name, those that failed to load too.
func (c *Catalogue) List() []Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Info, 0, len(c.entries))
	for name, e := range c.entries {
		info := Info{Name: name, Source: e.source, LastError: e.lastError}
		if k := e.current; k != nil {
			info.Version, info.Vendor = k.description.Version, k.description.Vendor
			info.Digest, info.Size, info.LoadedAt = k.module.Digest(), k.module.Size(), k.loadedAt
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Close takes every connector out and waits until the calls under way are
// back, or until ctx is done. Nothing can be loaded afterwards.
func (c *Catalogue) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	names := slices.Collect(maps.Keys(c.entries))
	live := slices.Collect(maps.Keys(c.live))
	c.mu.Unlock()
	for _, name := range names {
		c.Remove(name)
	}
	for _, k := range live {
		select {
		case <-k.gone:
		case <-ctx.Done():
			return host.Errorf(host.Cancelled, "calls of connector %s are still under way: %w", k.label(), ctx.Err())
		}
	}
	return nil
}
