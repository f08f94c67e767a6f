package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
)

// AppendAudit tells what this transaction does, with which it is stored or not.
// It gets its place in the chain when the transaction ends: from then on others
// who append wait, those on other machines too, and that is not to last.
func (t *Tx) AppendAudit(_ context.Context, e host.AuditEntry) error {
	if e.Action == "" || e.Object.Kind == "" || e.Outcome == "" {
		return host.Errorf(host.Internal, "an audit entry needs an action, an object and an outcome: %s of %s", e.Action, e.Object.Kind)
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	t.audit = append(t.audit, e)
	return nil
}

// appendAudit stores what [Tx.AppendAudit] was told, at the end of the
// transaction.
func (t *Tx) appendAudit(ctx context.Context) error {
	if len(t.audit) == 0 || host.DryRunOf(ctx) != nil {
		return nil
	}
	head, _, err := t.auditChain(ctx, true)
	if err != nil {
		return err
	}
	for i := range t.audit {
		e := &t.audit[i]
		text, err := head.Append(e)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO audit_entries (number, created_date, actor, action, object_kind, object_name, outcome, request_id, entry, hash)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.Number, e.Time, e.Actor, string(e.Action), e.Object.Kind, e.Object.Name, string(e.Outcome), e.RequestId, string(text), e.Hash); err != nil {
			return err
		}
		head = host.AuditLink{Number: e.Number, Hash: e.Hash}
	}
	t.audit = nil
	_, err = t.exec(ctx, "UPDATE audit_chain SET number = ?, hash = ? WHERE id = 1", head.Number, head.Hash)
	return err
}

// auditChain reads where the chain ends, and where what is kept of it begins.
// With lock every other that appends waits until this transaction ends.
func (t *Tx) auditChain(ctx context.Context, lock bool) (head, anchor host.AuditLink, err error) {
	query := "SELECT number, hash, anchor_number, anchor_hash FROM audit_chain WHERE id = 1"
	if lock && t.dialect == "postgres" { // on SQLite there is one transaction that writes at a time
		query += " FOR UPDATE"
	}
	err = t.db.Tx.QueryRowContext(ctx, query).Scan(&head.Number, &head.Hash, &anchor.Number, &anchor.Hash)
	return head, anchor, notFound(err, "the audit trail has lost its head: the row of audit_chain is gone")
}

// AuditHead is the end of the chain, and the anchor behind which it is kept.
func (t *Tx) AuditHead(ctx context.Context) (head, anchor host.AuditLink, err error) {
	return t.auditChain(ctx, false)
}

// AuditFilter chooses entries; empty fields choose all.
type AuditFilter struct {
	Actor string
	// Action is a whole one, or the noun before the dot.
	Action                 string
	ObjectKind, ObjectName string
	Outcome                host.AuditOutcome
	RequestId              string
	// Since is the first moment that counts, Until the first that does not.
	Since, Until time.Time
	// Newest lists the newest first, those before the number Before (0 for none);
	// else the oldest come first, those after After.
	Newest        bool
	Before, After int64
	Limit         int
}

// nouns are expressions for the noun of an action.
var nouns = map[string]string{"sqlite": "substr(action, 1, instr(action || '.', '.') - 1)", "postgres": "split_part(action, '.', 1)"}

// clocksDiffer is how many entries may stand before one whose clock was behind.
const clocksDiffer = 1000

func (f AuditFilter) query(dialect string) (string, []any) {
	where, args := []string{"number > ?"}, []any{f.After}
	add := func(condition string, values ...any) {
		where, args = append(where, condition), append(args, values...)
	}
	if f.Before > 0 {
		add("number < ?", f.Before)
	}
	for _, equal := range []struct{ column, value string }{{"actor", f.Actor}, {"object_kind", f.ObjectKind}, {"object_name", f.ObjectName},
		{"outcome", string(f.Outcome)}, {"request_id", f.RequestId}} {
		if equal.value != "" {
			add(equal.column+" = ?", equal.value)
		}
	}
	if f.Action != "" {
		if strings.Contains(f.Action, ".") {
			add("action = ?", f.Action)
		} else {
			add(nouns[dialect]+" = ?", f.Action)
		}
	}
	// As the indexes say it.
	if f.RequestId != "" {
		add("request_id <> ''")
	}
	if f.Outcome != "" && f.Outcome != host.AuditDone {
		add("outcome <> 'done'")
	}
	if !f.Since.IsZero() {
		add("created_date >= ? AND number > (SELECT number FROM audit_entries WHERE created_date >= ? ORDER BY created_date LIMIT 1) - ?", f.Since, f.Since, clocksDiffer)
	}
	if !f.Until.IsZero() {
		add("created_date < ? AND number < (SELECT number FROM audit_entries WHERE created_date < ? ORDER BY created_date DESC LIMIT 1) + ?", f.Until, f.Until, clocksDiffer)
	}
	order := " ORDER BY number"
	if f.Newest {
		order += " DESC"
	}
	return " FROM audit_entries WHERE " + strings.Join(where, " AND ") + order + " LIMIT ?", append(args, f.Limit)
}

// AuditEntries lists entries.
func (t *Tx) AuditEntries(ctx context.Context, f AuditFilter) ([]*host.AuditEntry, error) {
	var list []*host.AuditEntry
	return list, t.auditTexts(ctx, f, func(text []byte, hash string) error {
		e := new(host.AuditEntry)
		if err := json.Unmarshal(text, e); err != nil {
			return host.Errorf(host.Internal, "an entry of the audit trail can't be read: %w   -> provost audit verify", err)
		}
		e.Hash = hash
		list = append(list, e)
		return nil
	})
}

// AuditLines lists entries as they are exported. last is the number of the last
// of them.
func (t *Tx) AuditLines(ctx context.Context, f AuditFilter) (lines [][]byte, last int64, err error) {
	return lines, last, t.auditTexts(ctx, f, func(text []byte, hash string) error {
		var e host.AuditEntry
		if err := json.Unmarshal(text, &e); err != nil {
			return host.Errorf(host.Internal, "an entry of the audit trail can't be read: %w   -> provost audit verify", err)
		}
		lines, last = append(lines, host.AuditLine(text, hash)), e.Number
		return nil
	})
}

func (t *Tx) auditTexts(ctx context.Context, f AuditFilter, each func(text []byte, hash string) error) error {
	query, args := f.query(t.dialect)
	if listed != nil {
		listed(ctx, t, "SELECT entry, hash"+query, args)
	}
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered("SELECT entry, hash"+query), t.arguments(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text, hash string
		if err := rows.Scan(&text, &hash); err != nil {
			return err
		}
		if err := each([]byte(text), hash); err != nil {
			return err
		}
	}
	return rows.Err()
}

// VerifyAudit walks the chain from its anchor to its head. expect is a place that
// somebody has kept, which must be in it; the zero value asks for none.
func (t *Tx) VerifyAudit(ctx context.Context, expect host.AuditLink) (host.AuditVerification, error) {
	v := host.AuditVerification{}
	head, anchor, err := t.auditChain(ctx, false)
	if err != nil {
		return v, err
	}
	v.Anchor, v.Head = anchor, anchor
	w := auditWalk{at: anchor, anchor: anchor, expect: expect, anchored: anchor.Number == 0, found: expect.Hash == "" || expect.Hash == anchor.Hash}
	rows, err := t.db.Tx.QueryContext(ctx, "SELECT number, created_date, actor, action, object_kind, object_name, outcome, request_id, entry, hash FROM audit_entries WHERE number > $1 ORDER BY number", anchor.Number)
	if err != nil {
		return v, err
	}
	defer rows.Close()
	var broken *host.AuditBreak
	for rows.Next() && broken == nil {
		var r auditRow
		if err := rows.Scan(&r.number, &r.time, &r.actor, &r.action, &r.kind, &r.name, &r.outcome, &r.request, &r.entry, &r.hash); err != nil {
			return v, err
		}
		if err := w.next(r); errors.As(err, &broken) {
			break
		}
		v.Entries++
		v.Head = w.at
	}
	if err := rows.Err(); err != nil {
		return v, err
	}
	if broken == nil {
		errors.As(w.end(head), &broken)
	}
	if broken != nil {
		v.Broken, v.Problem = broken.Number, broken.Why
	}
	return v, nil
}

// auditRow is a row of audit_entries. The columns beside the entry are for
// filters, and must say the same.
type auditRow struct {
	number                                                   int64
	time                                                     time.Time
	actor, action, kind, name, outcome, request, entry, hash string
}

type auditWalk struct {
	at, anchor, expect host.AuditLink
	// anchored: an entry says that what lies before the anchor was pruned.
	anchored, found bool
}

// next goes on to a row. Its error is a *[host.AuditBreak].
func (w *auditWalk) next(r auditRow) error {
	e, at, err := w.at.Follow([]byte(r.entry), r.hash)
	if err != nil {
		return err
	}
	for _, c := range []struct{ column, has, entry string }{{"actor", r.actor, e.Actor}, {"action", r.action, string(e.Action)}, {"object_kind", r.kind, e.Object.Kind},
		{"object_name", r.name, e.Object.Name}, {"outcome", r.outcome, string(e.Outcome)}, {"request_id", r.request, e.RequestId},
		{"number", fmt.Sprint(r.number), fmt.Sprint(e.Number)}, {"created_date", r.time.UTC().String(), e.Time.UTC().String()}} {
		if c.has != c.entry {
			return &host.AuditBreak{Number: e.Number, Why: fmt.Sprintf("its column %s was changed: it says %.100q, and the entry %.100q", c.column, c.has, c.entry)}
		}
	}
	if e.Action == host.AuditPrune && !w.anchored {
		var pruned host.AuditLink
		w.anchored = json.Unmarshal(e.Details, &pruned) == nil && pruned == w.anchor
	}
	if w.expect.Hash == at.Hash {
		w.found = true
	}
	w.at = at
	return nil
}

// end checks that nothing is missing behind the last row. Its error is a
// *[host.AuditBreak].
func (w *auditWalk) end(head host.AuditLink) error {
	switch {
	case w.at.Number < head.Number:
		return &host.AuditBreak{Number: w.at.Number + 1, Why: fmt.Sprintf("it is missing, as all to the end: the chain had %d", head.Number)}
	case w.at != head:
		return &host.AuditBreak{Number: w.at.Number, Why: fmt.Sprintf("it is the last, but the chain ended with %s", head)}
	case !w.anchored:
		return &host.AuditBreak{Number: w.anchor.Number, Why: "all up to it were removed, and no entry says that they were pruned"}
	case !w.found && w.expect.Number > 0 && w.expect.Number < w.anchor.Number:
		return &host.AuditBreak{Number: w.expect.Number, Why: fmt.Sprintf("it was pruned, so it can't be told whether it was the expected one: expect %d or a later one", w.anchor.Number)}
	case !w.found:
		return &host.AuditBreak{Number: w.at.Number, Why: "the chain ends here, and has no entry of the hash that was expected: it was cut off or written anew"}
	}
	return nil
}

// PruneAudit removes the entries from before a time, but for the newest, and
// returns how many there were. An entry says so, with the place up to which they
// are gone: the chain can be verified from there.
func (s *Store) PruneAudit(ctx context.Context, before time.Time, actor string, dryRun bool) (rows int64, err error) {
	if rows, err = s.moveAnchor(ctx, before, actor, dryRun); err != nil || dryRun {
		return rows, err
	}
	// What lies behind the anchor counts no more; it goes bit by bit, so that others
	// can write meanwhile. Were it left here, the next time takes it.
	for {
		var n int64
		if err := s.Update(ctx, func(t *Tx) (err error) {
			n, err = t.exec(ctx, `DELETE FROM audit_entries WHERE number IN (SELECT number FROM audit_entries
				WHERE number <= (SELECT anchor_number FROM audit_chain WHERE id = 1) ORDER BY number LIMIT ?)`, prunedAudit)
			return err
		}); err != nil || n < prunedAudit {
			return rows, err
		}
	}
}

// prunedAudit is how many entries one transaction removes.
const prunedAudit = 500

// moveAnchor moves the anchor behind the entries from before a time.
func (s *Store) moveAnchor(ctx context.Context, before time.Time, actor string, dryRun bool) (rows int64, err error) {
	err = s.Update(ctx, func(t *Tx) error {
		rows = 0
		head, anchor, err := t.auditChain(ctx, true)
		if err != nil {
			return err
		}
		// Clocks differ: what is removed ends before the first that must stay.
		through := head.Number - 1
		var stays *int64
		if err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT MIN(number) FROM audit_entries WHERE number > ? AND created_date >= ?"), t.arguments([]any{anchor.Number, before})...).Scan(&stays); err != nil {
			return err
		}
		if stays != nil {
			through = min(through, *stays-1)
		}
		// That something was pruned is no reason to prune.
		var other int64
		if err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT COUNT(*) FROM audit_entries WHERE number > ? AND number <= ? AND action <> ?"), anchor.Number, through, string(host.AuditPrune)).Scan(&other); err != nil {
			return err
		}
		if through <= anchor.Number || other == 0 {
			return nil
		}
		rows = through - anchor.Number
		if dryRun {
			return nil
		}
		next := host.AuditLink{Number: through}
		if err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT hash FROM audit_entries WHERE number = ?"), through).Scan(&next.Hash); err != nil {
			return notFound(err, "the audit trail has lost entry %d   -> provost audit verify", through)
		}
		if _, err := t.exec(ctx, "UPDATE audit_chain SET anchor_number = ?, anchor_hash = ? WHERE id = 1", next.Number, next.Hash); err != nil {
			return err
		}
		details, err := json.Marshal(next)
		if err != nil {
			return err
		}
		return t.AppendAudit(ctx, host.AuditEntry{Actor: actor, Action: host.AuditPrune, Object: host.AuditObject{Kind: "audit", Name: next.String()}, Outcome: host.AuditDone, Details: details})
	})
	return rows, err
}
