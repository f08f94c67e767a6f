package store

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

const noticeTables = `
CREATE TABLE notices (
	number {number}, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, waiting {bigint} NOT NULL,
	first_raised {time} NOT NULL, last_raised {time} NOT NULL, resolved_date {time}
);
CREATE UNIQUE INDEX one_notice_lasts ON notices (kind, subject) WHERE resolved_date IS NULL;
CREATE TABLE notice_deliveries (
	number {number}, id TEXT NOT NULL UNIQUE, notice_id TEXT NOT NULL, event TEXT NOT NULL, channel TEXT NOT NULL, state TEXT NOT NULL,
	batch TEXT NOT NULL, attempts {bigint} NOT NULL, next_date {time} NOT NULL, last_error TEXT NOT NULL, created_date {time} NOT NULL, sent_date {time},
	lease_holder TEXT NOT NULL, lease_until {bigint} NOT NULL, UNIQUE (notice_id, event, channel)
);
CREATE INDEX deliveries_that_wait ON notice_deliveries (channel, number) WHERE state = 'waiting';
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until {bigint} NOT NULL)
`

// now is the database's clock in seconds, the same for all machines.
func (t *Tx) now() string {
	if t.dialect == "sqlite" {
		return "CAST(strftime('%s', 'now') AS INTEGER)"
	}
	return "CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)"
}

// TakeLease tells whether holder, and nobody else, may do what name stands for
// until so much time, in whole seconds, has gone by. Who has it renews it so.
func (t *Tx) TakeLease(ctx context.Context, name, holder string, lasts time.Duration) (bool, error) {
	n, err := t.exec(ctx, "INSERT INTO leases (name, holder, until) VALUES (?, ?, "+t.now()+" + ?) ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, until = EXCLUDED.until"+
		" WHERE leases.holder = EXCLUDED.holder OR leases.until < "+t.now(), name, holder, int64(lasts/time.Second))
	return n == 1, err
}

// DropLease gives a lease back, so that another need not wait.
func (t *Tx) DropLease(ctx context.Context, name, holder string) error {
	_, err := t.exec(ctx, "DELETE FROM leases WHERE name = ? AND holder = ?", name, holder)
	return err
}

// InsertNotice stores a new notice, unless one of its kind and subject lasts
// already: then it is false.
func (t *Tx) InsertNotice(ctx context.Context, n *host.Notice) (bool, error) {
	done, err := t.exec(ctx, "INSERT INTO notices (id, kind, subject, text, waiting, first_raised, last_raised) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		n.Id, string(n.Kind), n.Subject, n.Text, n.Waiting, n.FirstRaised, n.LastRaised)
	return done == 1, err
}

// ChangeNotice stores another text and count of a notice that lasts.
func (t *Tx) ChangeNotice(ctx context.Context, n *host.Notice) error {
	_, err := t.exec(ctx, "UPDATE notices SET text = ?, waiting = ?, last_raised = ? WHERE id = ? AND resolved_date IS NULL", n.Text, n.Waiting, n.LastRaised, n.Id)
	return err
}

// ResolveNotice ends a notice; false where another has.
func (t *Tx) ResolveNotice(ctx context.Context, id string, at time.Time) (bool, error) {
	n, err := t.exec(ctx, "UPDATE notices SET resolved_date = ? WHERE id = ? AND resolved_date IS NULL", at, id)
	return n == 1, err
}

// Notices returns notices, oldest first: those that last, and with since (not
// zero) those that were over then or later.
func (t *Tx) Notices(ctx context.Context, since time.Time) ([]*host.Notice, error) {
	var list []*host.Notice
	q := t.db.NewSelect().Model(&list).OrderExpr("number")
	if since.IsZero() {
		q = q.Where("resolved_date IS NULL")
	} else {
		q = q.Where("resolved_date IS NULL OR resolved_date >= ?", since.UTC())
	}
	return list, q.Scan(ctx)
}

// NoticesById returns notices by id.
func (t *Tx) NoticesById(ctx context.Context, ids []string) (map[string]*host.Notice, error) {
	byID := make(map[string]*host.Notice, len(ids))
	var list []*host.Notice
	if len(ids) > 0 {
		if err := t.db.NewSelect().Model(&list).Where("id IN (?)", bun.List(ids)).Scan(ctx); err != nil {
			return nil, err
		}
	}
	for _, n := range list {
		byID[n.Id] = n
	}
	return byID, nil
}

// Deliveries returns what of notices is or was told, in order.
func (t *Tx) Deliveries(ctx context.Context, noticeIDs []string) ([]*host.NoticeDelivery, error) {
	var list []*host.NoticeDelivery
	if len(noticeIDs) == 0 {
		return nil, nil
	}
	return list, t.db.NewSelect().Model(&list).Where("notice_id IN (?)", bun.List(noticeIDs)).OrderExpr("number").Scan(ctx)
}

// InsertDelivery stores that an event of a notice is to be told over a channel,
// once.
func (t *Tx) InsertDelivery(ctx context.Context, d *host.NoticeDelivery) error {
	_, err := t.exec(ctx, "INSERT INTO notice_deliveries (id, notice_id, event, channel, state, batch, attempts, next_date, last_error, created_date, lease_holder, lease_until)"+
		" VALUES (?, ?, ?, ?, ?, '', 0, ?, '', ?, '', 0) ON CONFLICT DO NOTHING", d.Id, d.NoticeId, string(d.Event), d.Channel, string(host.DeliveryWaiting), d.NextDate, d.CreatedDate)
	return err
}

// DueDeliveries returns what is to be told over a channel and nobody is sending,
// in order: what is due, and with gathered also what would be later and was
// never tried, once there is any that is due. That a notice is over is told
// after it was told that it was raised.
func (t *Tx) DueDeliveries(ctx context.Context, channel string, now time.Time, gathered bool, limit int) ([]*host.NoticeDelivery, error) {
	free := "d.channel = ? AND d.state = 'waiting' AND d.lease_until < " + t.now() +
		" AND NOT EXISTS (SELECT 1 FROM notice_deliveries e WHERE e.notice_id = d.notice_id AND e.channel = d.channel AND e.number < d.number AND e.state = 'waiting')"
	var list []*host.NoticeDelivery
	columns := t.recordOf((*host.NoticeDelivery)(nil)).columns
	query := "SELECT " + columns + " FROM notice_deliveries d WHERE " + free + " AND d.next_date <= ? ORDER BY number LIMIT ?"
	if err := t.scan(ctx, &list, query, channel, now, limit); err != nil || len(list) == 0 || !gathered {
		return list, err
	}
	list = nil
	query = "SELECT " + columns + " FROM notice_deliveries d WHERE " + free + " AND (d.next_date <= ? OR d.attempts = 0) ORDER BY number LIMIT ?"
	if err := t.scan(ctx, &list, query, channel, now, limit); err != nil {
		return nil, err
	}
	// Another machine may have taken what was due meanwhile; the rest gathers on.
	if !slices.ContainsFunc(list, func(d *host.NoticeDelivery) bool { return !d.NextDate.After(now) }) {
		return nil, nil
	}
	return list, nil
}

// LeaseDelivery lets holder send a delivery as it was read, in a batch; false
// where another does, or has tried since.
func (t *Tx) LeaseDelivery(ctx context.Context, d *host.NoticeDelivery, batch, holder string, lasts time.Duration) (bool, error) {
	n, err := t.exec(ctx, "UPDATE notice_deliveries SET lease_holder = ?, lease_until = "+t.now()+" + ?, batch = ?, attempts = attempts + 1"+
		" WHERE id = ? AND state = 'waiting' AND attempts = ? AND lease_until < "+t.now(), holder, int64(lasts/time.Second), batch, d.Id, d.Attempts)
	return n == 1, err
}

// EndDelivery stores how the attempt of a lease's holder ended, unless another
// has taken it over.
func (t *Tx) EndDelivery(ctx context.Context, d *host.NoticeDelivery, holder string) error {
	_, err := t.exec(ctx, "UPDATE notice_deliveries SET state = ?, next_date = ?, last_error = ?, sent_date = ?, lease_until = 0 WHERE id = ? AND lease_holder = ? AND state = 'waiting'",
		string(d.State), d.NextDate, d.LastError, d.SentDate, d.Id, holder)
	return err
}

// HastenDeliveries makes due what failed before over a channel that works again.
func (t *Tx) HastenDeliveries(ctx context.Context, channel string, now time.Time) error {
	_, err := t.exec(ctx, "UPDATE notice_deliveries SET next_date = ? WHERE channel = ? AND state = 'waiting' AND attempts > 0 AND next_date > ?", now, channel, now)
	return err
}

// ForsakeDeliveries gives up what has waited since before a time, as when its
// channel is in no configuration any more.
func (t *Tx) ForsakeDeliveries(ctx context.Context, before time.Time) (int64, error) {
	return t.exec(ctx, "UPDATE notice_deliveries SET state = ? WHERE state = 'waiting' AND created_date < ? AND lease_until < "+t.now(), string(host.DeliveryGivenUp), before)
}

// PruneNotices removes notices that were over before a time, with their
// deliveries; dry only counts them.
func (s *Store) PruneNotices(ctx context.Context, before time.Time, dry bool) (n int64, err error) {
	err = s.Update(ctx, func(t *Tx) error {
		if dry {
			return t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT COUNT(*) FROM notices WHERE resolved_date < ?"), t.arguments([]any{before})...).Scan(&n)
		}
		if _, err := t.exec(ctx, "DELETE FROM notice_deliveries WHERE notice_id IN (SELECT id FROM notices WHERE resolved_date < ?)", before); err != nil {
			return err
		}
		n, err = t.exec(ctx, "DELETE FROM notices WHERE resolved_date < ?", before)
		return err
	})
	return n, err
}

// Waits are the requests of an app that wait for a person: how many, since when
// the oldest.
type Waits struct {
	AppName string
	Count   int64
	Oldest  time.Time
}

// ApprovalsWaiting counts by app the requests that were made before a time and
// still wait for approval.
func (t *Tx) ApprovalsWaiting(ctx context.Context, before time.Time) ([]Waits, error) {
	var list []Waits
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered("SELECT r.app_name, r.created_date, (SELECT COUNT(*) FROM user_provisioning_requests n WHERE n.app_name = r.app_name AND n.approval_status = 'Required' AND n.state = 'New' AND n.created_date < ?)"+
		" FROM user_provisioning_requests r WHERE r.number IN (SELECT MIN(number) FROM user_provisioning_requests WHERE approval_status = 'Required' AND state = 'New' AND created_date < ? GROUP BY app_name) ORDER BY r.app_name"),
		t.arguments([]any{before, before})...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var w Waits
		if err := rows.Scan(&w.AppName, &w.Oldest, &w.Count); err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, rows.Err()
}

// RunsWaiting returns runs that have been analyzed and wait for a person, the
// oldest first.
func (t *Tx) RunsWaiting(ctx context.Context, limit int) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvisioningRequest)(nil)).columns+
		" FROM user_provisioning_requests WHERE operation = 'Reconcile' AND state NOT IN ('Completed', 'Failed', 'Retried', 'Manually Completed', 'Cancelled')"+
		" AND state = 'Analyzed' ORDER BY number LIMIT ?", limit) // as the index one_open_reconcile says it
}
