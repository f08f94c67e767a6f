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
	"github.com/provosthq/provost/pdk"
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
	// UserId is the user that it is done for, App the app; "" for nobody and none.
	UserId, App string
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
	// RequestId is the provisioning request, "" for a trial call.
	RequestId string
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
	// Loaded is told of every attempt to load a connector: compiling is what
	// compiling took, 0 where it was in the cache; nil for none.
	Loaded func(connector string, took, compiling time.Duration, err error)
	// Foreign tells whether a text could bring a merge field of a named credential
	// into what a connector makes of it; nil where none are filled in.
	Foreign func([]byte) bool
	// Judged is told, from a goroutine of its own, what the catalogue has decided
	// about a build by how its calls went; nil for nobody. [Catalogue.Close] waits
	// for it.
	Judged func(Verdict)
	// Denied is told of an operation that was called and is not granted; nil for
	// nobody.
	Denied func(connector, what, requestID string)
	// Build is how an earlier build of a connector is loaded again; nil: it can't
	// be.
	Build func(ctx context.Context, name, digest string) (Spec, error)
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
	judging sync.WaitGroup
	// lines bound what the connectors log, by name.
	lines          map[string]*lines
	linesPerSecond float64
}

// entry is what is known of one name.
type entry struct {
	// current is the build that calls get, nil while none has ever loaded; next the
	// one that gets a share of them first.
	current, next *Connector
	rollout       Rollout
	quarantine    Quarantine
	trial         *trial // of the newest build
	// outOf is why current serves nobody, "" while it does.
	outOf string
	// earlier are builds that runs stay with, by digest; opening keeps two from
	// opening one at once.
	earlier map[string]*Connector
	opening sync.Mutex
	// coming: the first build is still being loaded, and says this of itself.
	coming *coming

	source    string
	lastError string
	waiting   *Waiting
}

// coming is a build that is being loaded for the first time since the start.
type coming struct {
	description pdk.Description
	done        chan struct{}
}

// State says how a connector does.
type State string

// The states of a connector.
const (
	Serving     State = "serving"
	Loading     State = "loading"
	Quarantined State = "quarantined"
	Broken      State = "failed" // none has ever loaded
)

// Waiting is a build that is ready and waits for a grant.
type Waiting struct {
	Version string     `json:"version"`
	Digest  string     `json:"digest"`
	Wants   host.Reach `json:"wants"`
}

// Info is one line of [Catalogue.List].
type Info struct {
	Name, Version, Vendor, Digest, Source, Signer string
	Size                                          int
	LoadedAt                                      time.Time
	State                                         State
	// Reason is why it is not Serving.
	Reason string
	// LastError is why the newest attempt to load failed. The connector of
	// before, if there was one, goes on.
	LastError string
	// Next is the build that gets a share of the calls first.
	Next *Next
	// Waiting is a build that wants more than it is granted; nil for none.
	Waiting *Waiting
	// Failing is the share of the last calls that failed, of Calls.
	Failing float64
	Calls   int
	Reach   host.Reach
}

// Next is a build that takes over bit by bit.
type Next struct {
	Version, Digest string
	Share           float64
	Since           time.Time
	Failing         float64
	Calls           int
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

// Acquire takes a connector for one call. key is the request that it is for: a
// build that takes over bit by bit gets all calls of one request or none. The
// second result gives it back and must be called when the call has ended;
// calling it again does nothing. A connector that is not there or is in
// quarantine is Unavailable; one that is still being loaded is waited for until
// ctx ends.
func (c *Catalogue) Acquire(ctx context.Context, name, key string) (*Connector, func(), error) {
	c.mu.Lock()
	e := c.entries[name]
	if e != nil && e.current == nil && e.coming != nil {
		done := e.coming.done
		c.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, nil, host.Errorf(host.Cancelled, "connector %s is still being loaded: %w", name, ctx.Err())
		}
		c.mu.Lock()
		e = c.entries[name]
	}
	defer c.mu.Unlock()
	switch {
	case e == nil:
		return nil, nil, host.Errorf(host.Unavailable, "no connector named %q is loaded; there is %s. Name it under plugins in the configuration",
			name, c.namesLocked())
	case e.current == nil:
		return nil, nil, host.Errorf(host.Unavailable, "connector %s could not be loaded: %s", name, e.lastError)
	case e.outOf != "":
		return nil, nil, host.Errorf(host.Unavailable, "connector %s is in quarantine: %s", name, e.outOf)
	}
	k := e.current
	if e.next != nil && e.rollout.takes(key) {
		k = e.next
	}
	return k, c.holdLocked(k), nil
}

// AcquireBuild is Acquire of one build, which may be an earlier one: it is
// opened again if it must be. An error Unavailable says that it can't be had.
func (c *Catalogue) AcquireBuild(ctx context.Context, name, digest string) (*Connector, func(), error) {
	c.mu.Lock()
	e := c.entries[name]
	if e == nil {
		c.mu.Unlock()
		return c.Acquire(ctx, name, "")
	}
	take := func() (*Connector, func()) {
		for _, k := range []*Connector{e.current, e.next, e.earlier[digest]} {
			if k != nil && k.Digest() == digest {
				k.lastUsed = c.options.Now()
				return k, c.holdLocked(k)
			}
		}
		return nil, nil
	}
	if k, release := take(); k != nil {
		c.mu.Unlock()
		return k, release, nil
	}
	c.mu.Unlock()
	if c.options.Build == nil {
		return nil, nil, host.Errorf(host.Unavailable, "build %s of connector %s can't be had again", short(digest), name)
	}
	e.opening.Lock()
	defer e.opening.Unlock()
	c.mu.Lock()
	k, release := take() // somebody else may have opened it meanwhile
	c.mu.Unlock()
	if k != nil {
		return k, release, nil
	}
	spec, err := c.options.Build(ctx, name, digest)
	if err == nil {
		spec.Digest = digest
		k, err = c.open(ctx, spec)
	}
	if err != nil {
		return nil, nil, host.Errorf(host.Unavailable, "build %s of connector %s can't be had again: %w", short(digest), name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, c.discard(ctx, k)
	}
	if e.earlier == nil {
		e.earlier = map[string]*Connector{}
	}
	e.earlier[digest], c.live[k], k.lastUsed = k, struct{}{}, c.options.Now()
	return k, c.holdLocked(k), nil
}

func short(digest string) string { return digest[:min(12, len(digest))] }

func (c *Catalogue) discard(ctx context.Context, k *Connector) error {
	_ = k.module.Close(ctx) // the catalogue is closed; that is the error to tell
	return host.Errorf(host.Cancelled, "the catalogue is closed; connector %s was not loaded", k.name)
}

// holdLocked counts a call of k; what it returns ends it.
func (c *Catalogue) holdLocked(k *Connector) func() {
	k.refs++
	return sync.OnceFunc(func() { c.release(k) })
}

// Describe is what the build says of itself that calls get, or will when it is
// loaded; nil where there is none.
func (c *Catalogue) Describe(name string) *pdk.Description {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	switch {
	case e == nil:
		return nil
	case e.current != nil:
		d := e.current.description
		return &d
	case e.coming != nil:
		d := e.coming.description
		return &d
	}
	return nil
}

// OutOf is why no call of a connector can be made now, "" where it can.
func (c *Catalogue) OutOf(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	switch {
	case e == nil:
		return ""
	case e.current == nil && e.coming == nil:
		return "connector " + name + " could not be loaded: " + e.lastError
	case e.outOf != "":
		return "connector " + name + " is in quarantine: " + e.outOf
	}
	return ""
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

// retireLocked takes k out of the reach of new calls; what it returns shuts it
// where nobody holds it, and is called without the mutex.
func (c *Catalogue) retireLocked(k *Connector) func() {
	if k == nil || !k.retire() {
		return func() {}
	}
	return func() { c.shut(k) }
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
	var shut []func()
	if e != nil {
		for _, k := range e.all() {
			shut = append(shut, c.retireLocked(k))
		}
	}
	c.mu.Unlock()
	for _, do := range shut {
		do()
	}
}

func (e *entry) all() []*Connector {
	var list []*Connector
	for _, k := range append([]*Connector{e.current, e.next}, slices.Collect(maps.Values(e.earlier))...) {
		if k != nil {
			list = append(list, k)
		}
	}
	return list
}

// keepEarlier is how long an earlier build stays open that no run has asked
// for.
const keepEarlier = 30 * time.Second

// Tick does what is due: a build that took over bit by bit gets all calls,
// trials end, earlier builds that nobody needs are closed. It is to be called
// about once a second.
func (c *Catalogue) Tick() {
	now := c.options.Now()
	var shut []func()
	c.mu.Lock()
	for name, e := range c.entries {
		for digest, k := range e.earlier {
			if k.refs == 0 && now.Sub(k.lastUsed) > keepEarlier {
				delete(e.earlier, digest)
				shut = append(shut, c.retireLocked(k))
			}
		}
		shut = append(shut, c.dueLocked(name, e, now)...)
	}
	c.mu.Unlock()
	for _, do := range shut {
		do()
	}
}

// List shows every connector by name, those that failed to load too.
func (c *Catalogue) List() []Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Info, 0, len(c.entries))
	for name, e := range c.entries {
		info := Info{Name: name, Source: e.source, LastError: e.lastError, State: Serving, Reason: e.outOf, Waiting: e.waiting}
		switch {
		case e.current == nil && e.coming != nil:
			info.State, info.Version, info.Vendor = Loading, e.coming.description.Version, e.coming.description.Vendor
		case e.current == nil:
			info.State, info.Reason = Broken, e.lastError
		case e.outOf != "":
			info.State = Quarantined
		}
		if k := e.current; k != nil {
			info.Version, info.Vendor, info.Signer = k.description.Version, k.description.Vendor, k.spec.Signer
			info.Digest, info.Size, info.LoadedAt = k.module.Digest(), k.module.Size(), k.loadedAt
			info.Failing, info.Calls = k.recent.failing()
			info.Reach = ReachOf(k.description)
		}
		if k := e.next; k != nil {
			info.Next = &Next{Version: k.description.Version, Digest: k.module.Digest(), Share: e.rollout.Canary, Since: k.loadedAt}
			info.Next.Failing, info.Next.Calls = k.recent.failing()
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
	c.judging.Wait()
	c.tellDropped()
	for _, k := range live {
		select {
		case <-k.gone:
		case <-ctx.Done():
			return host.Errorf(host.Cancelled, "calls of connector %s are still under way: %w", k.label(), ctx.Err())
		}
	}
	return nil
}

// Digest is the build of a connector that calls get, but for those that another
// one has a share of; "" where there is none.
func (c *Catalogue) Digest(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[name]; e != nil && e.current != nil {
		return e.current.Digest()
	}
	return ""
}
