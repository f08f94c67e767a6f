package notice_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/notice"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"), goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/provosthq/provost/host/store/storetest.start"))
}

// people are who is told: a sender that keeps what it was sent.
type people struct {
	mu   sync.Mutex
	got  []notice.Message
	fail error
}

func (p *people) Send(_ context.Context, m notice.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, m)
	return p.fail
}

func (p *people) failing(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = err
}

// told are the events that were sent, and forgets them.
func (p *people) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, m := range p.got {
		for _, e := range m.Events {
			list = append(list, fmt.Sprintf("%s %s %s", e.Event, e.Notice.Kind, e.Notice.Subject))
		}
	}
	p.got = nil
	return list
}

type boardStore struct{ *store.Store }

func (s boardStore) Update(ctx context.Context, fn func(notice.Tx) error) error {
	return s.Store.Update(ctx, func(t *store.Tx) error { return fn(t) })
}

func (s boardStore) View(ctx context.Context, fn func(notice.Tx) error) error {
	return s.Store.View(ctx, func(t *store.Tx) error { return fn(t) })
}

// world is two machines on one database.
type world struct {
	*people
	store *store.Store
	a, b  *notice.Board
	now   time.Time
}

func each(t *testing.T, gather time.Duration, fn func(t *testing.T, w *world)) {
	storetest.Each(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), url, store.Options{Rehearse: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		w := &world{people: &people{}, store: s, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
		for _, b := range []**notice.Board{&w.a, &w.b} {
			*b = notice.New(notice.Options{Store: boardStore{s}, Now: func() time.Time { return w.now }})
			(*b).Use([]*notice.Channel{{Name: "ops", Gather: gather, Sender: w.people}})
		}
		fn(t, w)
	})
}

func credential(subject string) host.Notice {
	return host.Notice{Kind: host.NoticeCredential, Subject: subject, Text: subject + " must be authorized"}
}

func so(list ...host.Notice) func(context.Context) ([]host.Notice, error) {
	return func(context.Context) ([]host.Notice, error) { return list, nil }
}

func (w *world) deliver(t *testing.T) {
	t.Helper()
	var tasks sync.WaitGroup
	errs := make([]error, 2)
	for i, b := range []*notice.Board{w.a, w.b} { // both at once
		tasks.Go(func() { errs[i] = b.Deliver(t.Context()) })
	}
	tasks.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
}

var kinds = []host.NoticeKind{host.NoticeCredential, host.NoticeTarget}

func TestWhatLastsIsToldOnceByOneOfTwoMachinesAndThatItIsOver(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx := t.Context()
		for range 3 {
			require.NoError(t, w.a.Watch(ctx, kinds, so(credential("Acme"))))
			require.NoError(t, w.b.Watch(ctx, kinds, so(credential("Acme"))))
			require.NoError(t, w.b.Raise(ctx, credential("Acme")), "by whom ever")
			w.deliver(t)
		}
		require.Equal(t, []string{"raised credential Acme"}, w.told())

		for range 2 {
			require.NoError(t, w.a.Watch(ctx, kinds, so()))
			w.deliver(t)
		}
		require.Equal(t, []string{"resolved credential Acme"}, w.told())

		// It is so again: that is another notice.
		require.NoError(t, w.a.Watch(ctx, kinds, so(credential("Acme"))))
		w.deliver(t)
		require.Equal(t, []string{"raised credential Acme"}, w.told())
	})
}

func TestMachinesWithOtherConfigurationsDoNotRaiseAndResolveInTurns(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx := t.Context()
		for range 4 {
			require.NoError(t, w.a.Watch(ctx, kinds, so(credential("Acme"))))
			require.NoError(t, w.b.Watch(ctx, kinds, func(context.Context) ([]host.Notice, error) {
				require.Fail(t, "the other machine watches")
				return nil, nil
			}))
			w.deliver(t)
		}
		require.Equal(t, []string{"raised credential Acme"}, w.told())
		require.NoError(t, w.a.Leave(ctx))
		require.NoError(t, w.b.Watch(ctx, kinds, so()))
		w.deliver(t)
		require.Equal(t, []string{"resolved credential Acme"}, w.told(), "the other one goes on at once")
	})
}

func TestWhatNobodyWatchesLastsUntilItIsResolved(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx := t.Context()
		require.NoError(t, w.b.Raise(ctx, host.Notice{Kind: host.NoticeConnector, Subject: "acme", Text: "acme is in quarantine"}))
		require.NoError(t, w.a.Watch(ctx, kinds, so()))
		w.deliver(t)
		require.Equal(t, []string{"raised connector acme"}, w.told())
		require.NoError(t, w.a.Resolve(ctx, host.NoticeConnector, "acme"))
		require.NoError(t, w.a.Resolve(ctx, host.NoticeConnector, "acme"), "what is over is over")
		w.deliver(t)
		require.Equal(t, []string{"resolved connector acme"}, w.told())
	})
}

func TestAChannelGetsTheKindsThatItIsForAndANewOneHearsOfWhatLasts(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx, other := t.Context(), &people{}
		list := []host.Notice{credential("Acme"), {Kind: host.NoticeTarget, Subject: "Globex", Text: "down"}}
		require.NoError(t, w.a.Watch(ctx, kinds, so(list...)))
		w.deliver(t)
		require.Len(t, w.told(), 2)
		w.a.Use([]*notice.Channel{{Name: "ops", Sender: w.people}, {Name: "new", Kinds: []host.NoticeKind{host.NoticeTarget}, Sender: other}})
		require.NoError(t, w.a.Watch(ctx, kinds, so(list...)))
		require.NoError(t, w.a.Deliver(ctx))
		require.Empty(t, w.told())
		require.Equal(t, []string{"raised target Globex"}, other.told())
	})
}

func TestManyNoticesAreOneMessageAndFailedOnesKeepItsId(t *testing.T) {
	each(t, time.Minute, func(t *testing.T, w *world) {
		ctx := t.Context()
		var list []host.Notice
		for i := range 150 {
			list = append(list, host.Notice{Kind: host.NoticeTarget, Subject: fmt.Sprintf("T%d", i), Text: "down"})
		}
		require.NoError(t, w.a.Watch(ctx, kinds, so(list[:90]...)))
		w.deliver(t)
		require.Empty(t, w.got, "it is gathered for a minute")
		w.now = w.now.Add(50 * time.Second)
		require.NoError(t, w.a.Watch(ctx, kinds, so(list...)))
		w.now = w.now.Add(11 * time.Second)
		w.failing(host.Errorf(host.Unavailable, "no"))
		w.deliver(t)
		require.Len(t, w.got, 1)
		require.Len(t, w.got[0].Events, 50)
		require.Equal(t, 100, w.got[0].More)

		// What comes meanwhile is another message.
		require.NoError(t, w.a.Watch(ctx, kinds, so(append(list, credential("Acme"))...)))
		w.now = w.now.Add(6 * time.Second)
		w.failing(nil)
		w.deliver(t)
		require.Len(t, w.got, 2)
		require.Equal(t, w.got[0].Id, w.got[1].Id)
		require.Equal(t, 100, w.got[1].More)
		w.now = w.now.Add(time.Minute)
		w.deliver(t)
		require.Len(t, w.got, 3)
		require.Len(t, w.got[2].Events, 1)
		require.NotEqual(t, w.got[0].Id, w.got[2].Id)
	})
}

func TestWhatCanNotBeToldIsTriedForDaysInOrderAndThenGivenUp(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx, began := t.Context(), w.now
		w.failing(&host.Error{Code: host.Unavailable, Message: "away", RetryAfter: time.Minute})
		require.NoError(t, w.a.Watch(ctx, kinds, so(credential("Acme"))))
		w.deliver(t)
		w.now = w.now.Add(30 * time.Second)
		w.deliver(t)
		require.Len(t, w.told(), 1, "it asked to be left alone for a minute")
		require.NoError(t, w.a.Watch(ctx, kinds, so()))
		var last time.Time
		seen := 1
		for range 30 {
			_, told := stored(t, w, began)
			for _, d := range told {
				if d.State == host.DeliveryWaiting && (d.Attempts > 0 || seen == 11) {
					w.now = d.NextDate.Add(time.Second)
					break // the first that it is
				}
			}
			w.deliver(t)
			for _, what := range w.told() {
				if what == "raised credential Acme" {
					seen, last = seen+1, w.now
				}
				require.False(t, what != "raised credential Acme" && seen < 11, "that it is over overtook that it began")
			}
		}
		require.Equal(t, 11, seen)
		require.Greater(t, last.Sub(began), 72*time.Hour)
		notices, told := stored(t, w, began)
		require.Len(t, notices, 1)
		require.Equal(t, host.DeliveryGivenUp, told[0].State)
		require.Equal(t, "away", told[0].LastError)
	})
}

func stored(t *testing.T, w *world, since time.Time) (list []*host.Notice, told []*host.NoticeDelivery) {
	t.Helper()
	require.NoError(t, w.store.View(t.Context(), func(tx *store.Tx) (err error) {
		if list, err = tx.Notices(t.Context(), since); err != nil {
			return err
		}
		var ids []string
		for _, n := range list {
			ids = append(ids, n.Id)
		}
		told, err = tx.Deliveries(t.Context(), ids)
		return err
	}))
	return list, told
}

func TestWhatAMachineWasSendingWhenItDiedAnotherSendsWithTheSameId(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx := t.Context()
		require.NoError(t, w.a.Raise(ctx, credential("Acme")))
		_, told := stored(t, w, time.Time{})
		require.NoError(t, w.store.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.LeaseDelivery(ctx, told[0], "message-1", "who is gone", time.Minute)
			return err
		}))
		w.deliver(t)
		require.Empty(t, w.got, "it may still live")
		require.NoError(t, w.store.Update(ctx, func(tx *store.Tx) error {
			_, err := tx.SQL().ExecContext(ctx, "UPDATE notice_deliveries SET lease_until = 1")
			return err
		}))
		w.deliver(t)
		require.Len(t, w.got, 1)
		require.Equal(t, "message-1", w.got[0].Id)
	})
}

func TestAChannelThatWorksAgainGetsAtOnceWhatFailedBefore(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.failing(&host.Error{Code: host.Unavailable, Message: "away", RetryAfter: 10 * time.Hour})
		require.NoError(t, w.a.Raise(ctx, credential("Acme")))
		w.deliver(t)
		require.Error(t, w.b.Test(ctx, "ops"))
		require.Equal(t, host.NotFound, host.CodeOf(w.b.Test(ctx, "none")))
		w.failing(nil)
		w.told()
		require.NoError(t, w.b.Test(ctx, "ops"))
		w.deliver(t)
		require.Equal(t, []string{"raised test ops", "raised credential Acme"}, w.told())
		w.now = w.now.Add(6 * 24 * time.Hour)
		require.NoError(t, w.a.Forsake(ctx))
		_, told := stored(t, w, time.Time{})
		require.True(t, slices.ContainsFunc(told, func(d *host.NoticeDelivery) bool { return d.State == host.DeliverySent }), "what was sent was sent")
	})
}

func TestNoticesThatAreOverForLongArePruned(t *testing.T) {
	each(t, 0, func(t *testing.T, w *world) {
		ctx := t.Context()
		require.NoError(t, w.a.Raise(ctx, credential("Acme")))
		require.NoError(t, w.a.Raise(ctx, credential("Globex")))
		require.NoError(t, w.a.Resolve(ctx, host.NoticeCredential, "Acme"))
		n, err := w.store.PruneNotices(ctx, w.now.Add(time.Hour), true)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		n, err = w.store.PruneNotices(ctx, w.now.Add(time.Hour), false)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		list, told := stored(t, w, w.now.Add(-time.Hour))
		require.Len(t, list, 1)
		require.Len(t, told, 1)
		w.deliver(t)
		require.Equal(t, []string{"raised credential Globex"}, w.told())
	})
}
