// Package notice tells people what they must do or know: a connector in
// quarantine, a threshold that was passed, a credential to authorize, a target
// that does not answer, requests that wait for them. What is so is stored once
// for all machines and sent over channels (webhooks, mail) by one of them. It
// knows the domain; what is so it is told, by whoever knows.
package notice

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/provosthq/provost/host"
)

// Tx is what a transaction must be able to do; [store.Tx] can.
//
// [store.Tx]: https://pkg.go.dev/github.com/provosthq/provost/host/store#Tx
type Tx interface {
	TakeLease(ctx context.Context, name, holder string, lasts time.Duration) (bool, error)
	DropLease(ctx context.Context, name, holder string) error
	Notices(ctx context.Context, since time.Time) ([]*host.Notice, error)
	NoticesById(ctx context.Context, ids []string) (map[string]*host.Notice, error)
	InsertNotice(ctx context.Context, n *host.Notice) (bool, error)
	ChangeNotice(ctx context.Context, n *host.Notice) error
	ResolveNotice(ctx context.Context, id string, at time.Time) (bool, error)
	Deliveries(ctx context.Context, noticeIDs []string) ([]*host.NoticeDelivery, error)
	InsertDelivery(ctx context.Context, d *host.NoticeDelivery) error
	DueDeliveries(ctx context.Context, channel string, now time.Time, gathered bool, limit int) ([]*host.NoticeDelivery, error)
	LeaseDelivery(ctx context.Context, d *host.NoticeDelivery, batch, holder string, lasts time.Duration) (bool, error)
	EndDelivery(ctx context.Context, d *host.NoticeDelivery, holder string) error
	HastenDeliveries(ctx context.Context, channel string, now time.Time) error
	ForsakeDeliveries(ctx context.Context, before time.Time) (int64, error)
}

// Store runs transactions. fn may run more than once.
type Store interface {
	Update(ctx context.Context, fn func(Tx) error) error
	View(ctx context.Context, fn func(Tx) error) error
}

// Options are for [New].
type Options struct {
	Store Store
	// Now is the clock; nil is the real one.
	Now    func() time.Time
	Logger *slog.Logger
	// Sent is told of every attempt to send a message over a kind of channel; nil
	// for nobody.
	Sent func(kind string, err error)
}

// Board keeps the notices and sends them. It may be used from many goroutines
// and on many machines at once.
type Board struct {
	Options
	// id is who holds the leases of this process.
	id       string
	channels atomic.Pointer[[]*Channel]
}

// New makes a board without channels; see [Board.Use].
func New(o Options) *Board {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Sent == nil {
		o.Sent = func(string, error) {}
	}
	b := &Board{Options: o, id: host.NewID()}
	b.Use(nil)
	return b
}

// Use puts other channels in the place of those before. A message under way
// ends over the old one.
func (b *Board) Use(channels []*Channel) { b.channels.Store(&channels) }

const (
	watchLease = "notices"
	// leaseTime is how long another machine waits for one that is gone.
	leaseTime = 20 * time.Second
	// mostDays is how long it is tried to send something.
	mostDays = 5 * 24 * time.Hour
	// mostText bounds what is stored of a text.
	mostText = 1000
)

// Raise tells people of n, of which Kind, Subject, Text and Waiting are given.
// While it lasts it is raised once, whoever raises it again; what differs in
// Text and Waiting is stored and not told again.
func (b *Board) Raise(ctx context.Context, n host.Notice) error {
	return b.Store.Update(ctx, func(tx Tx) error {
		open, err := tx.Notices(ctx, time.Time{})
		if err != nil {
			return err
		}
		return b.raise(ctx, tx, find(open, n.Kind, n.Subject), n)
	})
}

// Resolve tells those who were told of a notice that it is over. One that was
// never raised is nothing.
func (b *Board) Resolve(ctx context.Context, kind host.NoticeKind, subject string) error {
	return b.Store.Update(ctx, func(tx Tx) error {
		open, err := tx.Notices(ctx, time.Time{})
		if n := find(open, kind, subject); err == nil && n != nil {
			err = b.resolve(ctx, tx, n)
		}
		return err
	})
}

// Watch compares what is so with the notices that last: it raises what is new
// and resolves what is over, of the kinds that look reports. On one machine at a
// time: the others return without having looked, so that two whose
// configurations differ do not raise and resolve in turns.
func (b *Board) Watch(ctx context.Context, kinds []host.NoticeKind, look func(context.Context) ([]host.Notice, error)) error {
	mine := false
	if err := b.Store.Update(ctx, func(tx Tx) (err error) {
		mine, err = tx.TakeLease(ctx, watchLease, b.id, leaseTime)
		return err
	}); err != nil || !mine {
		return err
	}
	now, err := look(ctx)
	if err != nil {
		return err
	}
	var open []*host.Notice
	var told []*host.NoticeDelivery
	if err := b.Store.View(ctx, func(tx Tx) (err error) {
		if open, err = tx.Notices(ctx, time.Time{}); err == nil {
			told, err = tx.Deliveries(ctx, idsOf(open))
		}
		return err
	}); err != nil {
		return err
	}
	if !b.differs(kinds, now, open, told) {
		return nil
	}
	return b.Store.Update(ctx, func(tx Tx) error {
		open, err := tx.Notices(ctx, time.Time{})
		if err != nil {
			return err
		}
		for _, n := range now {
			if err := b.raise(ctx, tx, find(open, n.Kind, n.Subject), n); err != nil {
				return err
			}
		}
		for _, n := range open {
			if watched(kinds, n.Kind) && findValue(now, n.Kind, n.Subject) == nil {
				if err := b.resolve(ctx, tx, n); err != nil {
					return err
				}
			} else if !watched(kinds, n.Kind) { // a channel that is new hears of it
				if err := b.tell(ctx, tx, n, host.NoticeRaised); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Leave lets another machine watch at once.
func (b *Board) Leave(ctx context.Context) error {
	return b.Store.Update(ctx, func(tx Tx) error { return tx.DropLease(ctx, watchLease, b.id) })
}

// differs tells whether there is anything to write.
func (b *Board) differs(kinds []host.NoticeKind, now []host.Notice, open []*host.Notice, told []*host.NoticeDelivery) bool {
	type telling struct{ notice, channel string }
	done := map[telling]bool{}
	for _, d := range told {
		done[telling{d.NoticeId, d.Channel}] = true
	}
	for _, n := range now {
		if o := find(open, n.Kind, n.Subject); o == nil || o.Text != clip(n.Text) || o.Waiting != n.Waiting {
			return true
		}
	}
	for _, o := range open {
		if watched(kinds, o.Kind) && findValue(now, o.Kind, o.Subject) == nil {
			return true
		}
		for _, c := range *b.channels.Load() {
			if c.wants(o.Kind) && !done[telling{o.Id, c.Name}] {
				return true
			}
		}
	}
	return false
}

// raise stores a notice, before which is the one that lasts, nil for none.
func (b *Board) raise(ctx context.Context, tx Tx, before *host.Notice, n host.Notice) error {
	now := b.Now().UTC()
	n.Text = clip(n.Text)
	if before == nil {
		n.Id, n.FirstRaised, n.LastRaised = host.NewID(), now, now
		made, err := tx.InsertNotice(ctx, &n)
		if err != nil || !made { // another machine has just raised it, and tells
			return err
		}
		b.Logger.WarnContext(ctx, "a person is needed", "notice", n.Id, "kind", n.Kind, "subject", n.Subject, "text", n.Text)
		return b.tell(ctx, tx, &n, host.NoticeRaised)
	}
	if before.Text != n.Text || before.Waiting != n.Waiting {
		before.Text, before.Waiting, before.LastRaised = n.Text, n.Waiting, now
		if err := tx.ChangeNotice(ctx, before); err != nil {
			return err
		}
	}
	return b.tell(ctx, tx, before, host.NoticeRaised)
}

// resolve ends a notice, and tells those who were told of it, or will be.
func (b *Board) resolve(ctx context.Context, tx Tx, n *host.Notice) error {
	now := b.Now().UTC()
	done, err := tx.ResolveNotice(ctx, n.Id, now)
	if err != nil || !done {
		return err
	}
	told, err := tx.Deliveries(ctx, []string{n.Id})
	if err != nil {
		return err
	}
	b.Logger.InfoContext(ctx, "no person is needed any more", "notice", n.Id, "kind", n.Kind, "subject", n.Subject)
	for _, d := range told {
		if d.Event != host.NoticeRaised || d.State == host.DeliveryGivenUp {
			continue
		}
		over := &host.NoticeDelivery{Id: host.NewID(), NoticeId: n.Id, Event: host.NoticeResolved, Channel: d.Channel, NextDate: now, CreatedDate: now}
		if c := b.channel(d.Channel); c != nil {
			over.NextDate = now.Add(c.Gather)
		}
		if err := tx.InsertDelivery(ctx, over); err != nil {
			return err
		}
	}
	return nil
}

// tell stores that an event is to be told over every channel that wants it;
// what is stored already stays.
func (b *Board) tell(ctx context.Context, tx Tx, n *host.Notice, event host.NoticeEvent) error {
	now := b.Now().UTC()
	for _, c := range *b.channels.Load() {
		if !c.wants(n.Kind) {
			continue
		}
		if err := tx.InsertDelivery(ctx, &host.NoticeDelivery{Id: host.NewID(), NoticeId: n.Id, Event: event, Channel: c.Name,
			NextDate: now.Add(c.Gather), CreatedDate: now}); err != nil {
			return err
		}
	}
	return nil
}

func (b *Board) channel(name string) *Channel {
	for _, c := range *b.channels.Load() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func find(list []*host.Notice, kind host.NoticeKind, subject string) *host.Notice {
	for _, n := range list {
		if n.Kind == kind && n.Subject == subject {
			return n
		}
	}
	return nil
}

func findValue(list []host.Notice, kind host.NoticeKind, subject string) *host.Notice {
	for i := range list {
		if list[i].Kind == kind && list[i].Subject == subject {
			return &list[i]
		}
	}
	return nil
}

func watched(kinds []host.NoticeKind, kind host.NoticeKind) bool {
	for _, k := range kinds {
		if k == kind {
			return true
		}
	}
	return false
}

func idsOf(list []*host.Notice) []string {
	ids := make([]string, len(list))
	for i, n := range list {
		ids[i] = n.Id
	}
	return ids
}

func clip(s string) string {
	if len(s) <= mostText {
		return s
	}
	cut := mostText
	for cut > 0 && s[cut]&0xc0 == 0x80 { // not within a rune
		cut--
	}
	return s[:cut] + "…"
}
