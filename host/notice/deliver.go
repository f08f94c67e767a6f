package notice

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
)

// Channel is one way to people.
type Channel struct {
	Name string
	// Kind is what it is: webhook or mail.
	Kind string
	// Kinds are those that it is for; none: all.
	Kinds []host.NoticeKind
	// Gather is how long what is to be told waits for more, which goes in the same
	// message; 0: each event is a message of its own.
	Gather time.Duration
	// Link is a page where a person goes on.
	Link string
	// Sender sends.
	Sender Sender
}

// Sender sends messages over one channel. It may be used from many goroutines.
type Sender interface {
	// Send sends one message; the receiver tells by Id whether it has had it
	// before. An error is a *[host.Error] without secrets; RetryAfter is how long
	// the receiver asked to be left alone.
	Send(ctx context.Context, m Message) error
}

// Message is what is sent at once.
type Message struct {
	// Id stays the same however often it is sent.
	Id   string
	At   time.Time
	Link string
	// Events are one, or several for a channel that gathers.
	Events []Event
	// More counts what there was besides.
	More int
}

// Event is what of a notice is told.
type Event struct {
	Event  host.NoticeEvent
	Notice host.Notice
}

func (c *Channel) wants(kind host.NoticeKind) bool {
	return len(c.Kinds) == 0 || slices.Contains(c.Kinds, kind)
}

const (
	// sendTime bounds one sending, sendLease is how long nobody else tries.
	sendTime  = 30 * time.Second
	sendLease = 60 * time.Second
	// mostGathered is the most that goes in one message, mostShown the most of it
	// that is written out.
	mostGathered = 5000
	mostShown    = 50
)

// waits are those before each further attempt, as the Standard Webhooks
// propose: some three days in all.
var waits = []time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour,
	14 * time.Hour, 20 * time.Hour, 24 * time.Hour}

// Deliver sends what is due, over all channels at once, and returns when
// nothing is due any more or a channel fails.
func (b *Board) Deliver(ctx context.Context) error {
	channels := *b.channels.Load()
	errs := make([]error, len(channels))
	var tasks sync.WaitGroup
	for i, c := range channels {
		tasks.Go(func() {
			for ctx.Err() == nil {
				again, err := b.deliver(ctx, c)
				if errs[i] = err; err != nil || !again {
					return
				}
			}
		})
	}
	tasks.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Forsake gives up what could not be sent for days.
func (b *Board) Forsake(ctx context.Context) error {
	var n int64
	err := b.Store.Update(ctx, func(tx Tx) (err error) {
		n, err = tx.ForsakeDeliveries(ctx, b.Now().Add(-mostDays).UTC())
		return err
	})
	if err == nil && n > 0 {
		b.Logger.WarnContext(ctx, "notices could not be sent for days and are given up", "deliveries", n)
	}
	return err
}

// Test sends a notice that says that it is a test, at once and once.
func (b *Board) Test(ctx context.Context, channel string) error {
	c := b.channel(channel)
	if c == nil {
		return host.Errorf(host.NotFound, "no channel named %q   -> notify in the configuration", channel)
	}
	now := b.Now().UTC()
	id := host.NewID()
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err := c.Sender.Send(ctx, Message{Id: id, At: now, Link: c.Link, Events: []Event{{host.NoticeRaised, host.Notice{Id: id, Kind: host.NoticeTest, Subject: channel,
		Text: "This is a test of the channel " + channel + ". Nothing has to be done.", FirstRaised: now, LastRaised: now}}}})
	b.Sent(c.Kind, err)
	if err != nil {
		return err
	}
	return b.Store.Update(ctx, func(tx Tx) error { return tx.HastenDeliveries(ctx, channel, now) })
}

// deliver sends the next message of a channel; again tells that there may be
// more.
func (b *Board) deliver(ctx context.Context, c *Channel) (again bool, err error) {
	batch, err := b.take(ctx, c)
	if err != nil || len(batch) == 0 {
		return false, err
	}
	var about map[string]*host.Notice
	if err := b.Store.View(ctx, func(tx Tx) (err error) {
		ids := make([]string, len(batch))
		for i, d := range batch {
			ids[i] = d.NoticeId
		}
		about, err = tx.NoticesById(ctx, ids)
		return err
	}); err != nil {
		return false, err
	}
	m := Message{Id: batch[0].Batch, At: b.Now().UTC(), Link: c.Link}
	for _, d := range batch {
		switch n := about[d.NoticeId]; {
		case n == nil: // pruned meanwhile
		case len(m.Events) == mostShown:
			m.More++
		default:
			told := *n
			if d.Event == host.NoticeRaised {
				told.ResolvedDate = nil // another message says so
			}
			m.Events = append(m.Events, Event{d.Event, told})
		}
	}
	if len(m.Events) > 0 {
		sending, cancel := context.WithTimeout(ctx, sendTime)
		err = c.Sender.Send(sending, m)
		cancel()
	}
	if ctx.Err() != nil {
		return false, ctx.Err() // the lease runs out, and it is sent again
	}
	if len(m.Events) > 0 {
		b.Sent(c.Kind, err)
	}
	return err == nil, b.end(ctx, c, batch, err)
}

// take leases the next message of a channel.
func (b *Board) take(ctx context.Context, c *Channel) (batch []*host.NoticeDelivery, err error) {
	most := 1
	if c.Gather > 0 {
		most = mostGathered
	}
	now := b.Now().UTC()
	var due []*host.NoticeDelivery
	if err := b.Store.View(ctx, func(tx Tx) (err error) {
		due, err = tx.DueDeliveries(ctx, c.Name, now, c.Gather > 0, most)
		return err
	}); err != nil || len(due) == 0 {
		return nil, err
	}
	err = b.Store.Update(ctx, func(tx Tx) error {
		batch = nil
		due, err := tx.DueDeliveries(ctx, c.Name, now, c.Gather > 0, most)
		if err != nil || len(due) == 0 {
			return err
		}
		// What was in a message before goes in that again, so that its id says so.
		name := due[0].Batch
		for _, d := range due {
			if d.Batch != name {
				continue
			}
			if d.Batch == "" && len(batch) > 0 {
				d.Batch = batch[0].Batch
			} else if d.Batch == "" {
				d.Batch = host.NewID()
			}
			mine, err := tx.LeaseDelivery(ctx, d, d.Batch, b.id, sendLease)
			if err != nil {
				return err
			}
			if mine {
				d.Attempts++
				batch = append(batch, d)
			}
		}
		return nil
	})
	return batch, err
}

// end stores how a sending ended.
func (b *Board) end(ctx context.Context, c *Channel, batch []*host.NoticeDelivery, cause error) error {
	now := b.Now().UTC()
	attempts := 0
	for _, d := range batch {
		attempts = max(attempts, d.Attempts)
	}
	next, state := now, host.DeliverySent
	if cause != nil {
		wait, more := backoff(attempts)
		if e, ok := cause.(*host.Error); ok && e.RetryAfter > wait {
			wait = min(e.RetryAfter, 24*time.Hour)
		}
		next, state = now.Add(wait), host.DeliveryWaiting
		if !more {
			state = host.DeliveryGivenUp
		}
	}
	// That it was sent is stored even while stopping: else it is sent again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := b.Store.Update(ctx, func(tx Tx) error {
		for _, d := range batch {
			ended := *d
			ended.State, ended.NextDate, ended.LastError = state, next, ""
			if cause != nil {
				ended.LastError = clip(cause.Error())
			} else {
				ended.SentDate = &now
			}
			if err := tx.EndDelivery(ctx, &ended, b.id); err != nil {
				return err
			}
		}
		if cause == nil {
			return tx.HastenDeliveries(ctx, c.Name, now)
		}
		return nil
	})
	switch {
	case err != nil:
	case cause == nil:
		b.Logger.InfoContext(ctx, "people were told", "channel", c.Name, "message", batch[0].Batch, "notices", len(batch), "attempt", attempts)
	case state == host.DeliveryGivenUp:
		b.Logger.ErrorContext(ctx, "people could not be told, and it is given up", "channel", c.Name, "message", batch[0].Batch, "notices", len(batch), "attempt", attempts, "error", cause)
	default:
		b.Logger.WarnContext(ctx, "people could not be told; it is tried again", "channel", c.Name, "message", batch[0].Batch, "notices", len(batch), "attempt", attempts, "at", next, "error", cause)
	}
	return err
}

// backoff is how long to wait after so many attempts, with jitter; false: not
// at all any more.
func backoff(attempts int) (time.Duration, bool) {
	if attempts > len(waits) {
		return 0, false
	}
	d := waits[max(0, attempts-1)]
	return d + rand.N(d/10+1), true
}
