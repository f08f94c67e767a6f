package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/store"
	"github.com/provosthq/provost/host/store/storetest"
)

func auditEntry(name string) host.AuditEntry {
	return host.AuditEntry{Actor: host.Administrator("root"), Action: host.AuditAppApply, Object: host.AuditObject{Kind: "app", Name: name}, Outcome: host.AuditDone,
		Details: json.RawMessage(`{"before": "a", "after": "<b>"}`)}
}

func appendAudit(t *testing.T, s *store.Store, list ...host.AuditEntry) {
	t.Helper()
	for _, e := range list {
		require.NoError(t, s.Update(t.Context(), func(tx *store.Tx) error { return tx.AppendAudit(t.Context(), e) }))
	}
}

func verifyAudit(t *testing.T, s *store.Store, expect host.AuditLink) (v host.AuditVerification) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(tx *store.Tx) (err error) {
		v, err = tx.VerifyAudit(t.Context(), expect)
		return err
	}))
	return v
}

func auditEntries(t *testing.T, s *store.Store, f store.AuditFilter) (list []*host.AuditEntry) {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 1000
	}
	require.NoError(t, s.View(t.Context(), func(tx *store.Tx) (err error) {
		list, err = tx.AuditEntries(t.Context(), f)
		return err
	}))
	return list
}

func TestTheAuditTrailIsStoredWithTheChangeOrNotAtAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := t.Context()
		appendAudit(t, s, auditEntry("first"))
		failed := errors.New("no")
		require.ErrorIs(t, s.Update(ctx, func(tx *store.Tx) error {
			require.NoError(t, tx.AppendAudit(ctx, auditEntry("undone")))
			return failed
		}), failed)
		dry := host.WithDryRun(ctx, &host.DryRun{})
		require.NoError(t, s.Update(dry, func(tx *store.Tx) error { return tx.AppendAudit(dry, auditEntry("dry")) }))
		require.Error(t, s.View(ctx, func(tx *store.Tx) error { return tx.AppendAudit(ctx, auditEntry("reading")) }), "it only reads")
		appendAudit(t, s, auditEntry("second"))
		list := auditEntries(t, s, store.AuditFilter{})
		require.Len(t, list, 2)
		require.Equal(t, []string{"first", "second"}, []string{list[0].Object.Name, list[1].Object.Name})
		require.Equal(t, list[0].Hash, list[1].PreviousHash)
		require.JSONEq(t, `{"before": "a", "after": "<b>"}`, string(list[1].Details))
		v := verifyAudit(t, s, host.AuditLink{})
		require.Equal(t, host.AuditVerification{Entries: 2, Head: host.AuditLink{Number: 2, Hash: list[1].Hash}}, v)
	})
}

// What others wrote into names neither breaks a statement nor the chain.
func TestOddTextIsAudited(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		e := auditEntry("a\x00b\xff\n\x1b[31m'; DROP TABLE audit_entries; -- ?")
		e.Details = json.RawMessage(`{"text": "\u0000 ' ? \u2028"}`)
		appendAudit(t, s, e, auditEntry("next"))
		list := auditEntries(t, s, store.AuditFilter{})
		require.Equal(t, "ab[31m'; DROP TABLE audit_entries; -- ?", list[0].Object.Name)
		require.Empty(t, verifyAudit(t, s, host.AuditLink{}).Problem)
		e.Details = json.RawMessage(`{`)
		require.Error(t, s.Update(t.Context(), func(tx *store.Tx) error { return tx.AppendAudit(t.Context(), e) }))
	})
}

func TestTheAuditTrailIsFiltered(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for i, action := range []host.AuditAction{host.AuditAppApply, host.AuditAppDelete, host.AuditRequestApprove, "app_x.apply", host.AuditUserErase} {
			e := auditEntry(fmt.Sprint("n", i))
			e.Action, e.Time = action, at.Add(time.Duration(i)*time.Hour)
			if i == 2 {
				e.Actor, e.Outcome, e.RequestId, e.Object.Kind = "u1", host.AuditRefused, "r1", "request"
			}
			appendAudit(t, s, e)
		}
		for _, one := range []struct {
			filter store.AuditFilter
			want   []int64
		}{
			{store.AuditFilter{Action: "app"}, []int64{1, 2}},
			{store.AuditFilter{Action: "app.apply"}, []int64{1}},
			{store.AuditFilter{Action: "ap%"}, nil},
			{store.AuditFilter{Actor: "u1"}, []int64{3}},
			{store.AuditFilter{Outcome: host.AuditRefused}, []int64{3}},
			{store.AuditFilter{RequestId: "r1"}, []int64{3}},
			{store.AuditFilter{ObjectKind: "app", ObjectName: "n4"}, []int64{5}},
			{store.AuditFilter{Since: at.Add(time.Hour), Until: at.Add(3 * time.Hour)}, []int64{2, 3}},
			{store.AuditFilter{Newest: true, Limit: 2}, []int64{5, 4}},
			{store.AuditFilter{Newest: true, Before: 4, Limit: 2}, []int64{3, 2}},
			{store.AuditFilter{After: 3, Limit: 1}, []int64{4}},
		} {
			var got []int64
			for _, e := range auditEntries(t, s, one.filter) {
				got = append(got, e.Number)
			}
			require.Equal(t, one.want, got, "%+v", one.filter)
		}
	})
}

func TestTheDatabaseLetsNobodyChangeTheAuditTrail(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		appendAudit(t, s, auditEntry("a"), auditEntry("b"), auditEntry("c"))
		statements := []string{"UPDATE audit_entries SET actor = 'x' WHERE number = 2", "DELETE FROM audit_entries WHERE number = 1", "DELETE FROM audit_entries",
			"DELETE FROM audit_chain", "UPDATE audit_chain SET number = 2", "UPDATE audit_chain SET anchor_number = 9"}
		if s.Dialect() == "postgres" {
			statements = append(statements, "TRUNCATE audit_entries", "TRUNCATE audit_chain")
		}
		for _, statement := range statements {
			_, err := s.DB().Exec(statement)
			require.ErrorContains(t, err, "audit trail", statement)
		}
		require.EqualValues(t, 3, verifyAudit(t, s, host.AuditLink{}).Entries)
	})
}

// Whoever owns the database can take the triggers away. The chain tells.
func TestTamperingIsFound(t *testing.T) {
	const rewritten = `replace(entry, '"name":"n3"', '"name":"x3"')`
	rehash := func(t *testing.T, s *store.Store, number int64) {
		var text string
		require.NoError(t, s.DB().QueryRow(fmt.Sprintf("SELECT entry FROM audit_entries WHERE number = %d", number)).Scan(&text))
		var e host.AuditEntry
		require.NoError(t, json.Unmarshal([]byte(text), &e))
		again, err := host.AuditLink{Number: e.Number - 1, Hash: e.PreviousHash}.Append(&e)
		require.NoError(t, err)
		require.Equal(t, text, string(again))
		_, err = s.DB().Exec(fmt.Sprintf("UPDATE audit_entries SET hash = '%s' WHERE number = %d", e.Hash, number))
		require.NoError(t, err)
	}
	for _, one := range []struct {
		name   string
		sql    []string
		more   func(t *testing.T, s *store.Store)
		broken int64
		why    string
	}{
		{"an entry changed", []string{"UPDATE audit_entries SET entry = " + rewritten + ", object_name = 'x3' WHERE number = 3"}, nil, 3, "content was changed"},
		{"a column changed", []string{"UPDATE audit_entries SET actor = 'somebody' WHERE number = 4"}, nil, 4, "column actor"},
		{"a time changed", []string{"UPDATE audit_entries SET created_date = '2001-01-01 00:00:00+00:00' WHERE number = 4"}, nil, 4, "column created_date"},
		{"a hash changed", []string{"UPDATE audit_entries SET hash = 'x' WHERE number = 5"}, nil, 5, "content was changed"},
		{"an entry replaced with its hash", []string{"UPDATE audit_entries SET entry = " + rewritten + ", object_name = 'x3' WHERE number = 3"},
			func(t *testing.T, s *store.Store) { rehash(t, s, 3) }, 3, "was replaced"},
		{"an entry removed", []string{"DELETE FROM audit_entries WHERE number = 3"}, nil, 3, "missing: entry 4"},
		{"the first removed", []string{"DELETE FROM audit_entries WHERE number = 1"}, nil, 1, "missing: entry 2"},
		{"two exchanged", []string{"UPDATE audit_entries SET number = 99 WHERE number = 2", "UPDATE audit_entries SET number = 2 WHERE number = 3", "UPDATE audit_entries SET number = 3 WHERE number = 99"}, nil, 2, "missing: entry 3"},
		{"the end cut off", []string{"DELETE FROM audit_entries WHERE number > 4"}, nil, 5, "all to the end: the chain had 6"},
		{"all gone", []string{"DELETE FROM audit_entries"}, nil, 1, "all to the end"},
		{"the last replaced", []string{`UPDATE audit_entries SET entry = replace(entry, '"name":"n6"', '"name":"x6"'), object_name = 'x6' WHERE number = 6`},
			func(t *testing.T, s *store.Store) { rehash(t, s, 6) }, 6, "the chain ended with"},
		{"the end cut off with its head", []string{"DELETE FROM audit_entries WHERE number > 4", "UPDATE audit_chain SET number = 4, hash = (SELECT hash FROM audit_entries WHERE number = 4)"}, nil, 4, "cut off or written anew"},
		{"the beginning removed as if it were pruned", []string{"UPDATE audit_chain SET anchor_number = 2, anchor_hash = (SELECT hash FROM audit_entries WHERE number = 2)", "DELETE FROM audit_entries WHERE number <= 2"}, nil, 2, "no entry says"},
	} {
		t.Run(one.name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, url string) {
				s := open(t, url)
				for i := range 6 {
					appendAudit(t, s, auditEntry(fmt.Sprint("n", i+1)))
				}
				kept := verifyAudit(t, s, host.AuditLink{}).Head
				require.Empty(t, verifyAudit(t, s, kept).Problem)
				for _, trigger := range []string{"audit_entries_stay", "audit_entries_kept", "audit_chain_grows"} {
					on := ""
					if s.Dialect() == "postgres" {
						on = map[string]string{"audit_chain_grows": " ON audit_chain"}[trigger]
						if on == "" {
							on = " ON audit_entries"
						}
					}
					_, err := s.DB().Exec("DROP TRIGGER " + trigger + on)
					require.NoError(t, err)
				}
				for _, statement := range one.sql {
					_, err := s.DB().Exec(statement)
					require.NoError(t, err, statement)
				}
				if one.more != nil {
					one.more(t, s)
				}
				v := verifyAudit(t, s, kept)
				require.Equal(t, one.broken, v.Broken, v.Problem)
				require.Contains(t, v.Problem, one.why)
			})
		})
	}
}

func TestAPrunedAuditTrailIsVerifiedFromItsAnchor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := t.Context()
		at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		var links []host.AuditLink
		for i, hour := range []int{0, 1, 9, 2, 3} { // a clock that was wrong
			e := auditEntry(fmt.Sprint("n", i))
			e.Time = at.Add(time.Duration(hour) * time.Hour)
			appendAudit(t, s, e)
			links = append(links, verifyAudit(t, s, host.AuditLink{}).Head)
		}
		prune := func(hour int, dry bool) int64 {
			n, err := s.PruneAudit(ctx, at.Add(time.Duration(hour)*time.Hour), host.Ourselves, dry)
			require.NoError(t, err)
			return n
		}
		require.Zero(t, prune(0, false))
		require.EqualValues(t, 2, prune(4, true))
		require.EqualValues(t, 5, verifyAudit(t, s, host.AuditLink{}).Entries)
		require.EqualValues(t, 2, prune(4, false), "what is behind one that stays, stays")
		v := verifyAudit(t, s, links[4])
		require.Empty(t, v.Problem)
		require.Equal(t, links[1], v.Anchor)
		require.EqualValues(t, 6, v.Head.Number)
		require.Empty(t, verifyAudit(t, s, links[1]).Problem, "the anchor can be expected")
		require.Contains(t, verifyAudit(t, s, links[0]).Problem, "pruned")
		require.Zero(t, prune(4, false))
		require.Len(t, auditEntries(t, s, store.AuditFilter{}), 4, "three, and the one that tells of the others")
		require.EqualValues(t, 3, prune(10, false), "what is pruned is gone")
		require.Empty(t, verifyAudit(t, s, host.AuditLink{}).Problem)
		n, err := s.PruneAudit(ctx, time.Now().Add(time.Hour), host.Ourselves, false)
		require.NoError(t, err)
		require.Zero(t, n, "that something was pruned is no reason to prune")
	})
}

// What is pruned goes bit by bit: a daemon that dies meanwhile leaves some of it
// behind the anchor, where it counts no more and is taken the next time.
func TestAPruningThatWasCutOffGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, url string) {
		s := open(t, url)
		ctx := t.Context()
		old := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		for range 12 {
			require.NoError(t, s.Update(ctx, func(tx *store.Tx) error {
				for range 100 {
					e := auditEntry("old")
					e.Time = old
					if err := tx.AppendAudit(ctx, e); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		appendAudit(t, s, auditEntry("new"))
		// As far as a daemon came that died.
		_, err := s.DB().Exec("UPDATE audit_chain SET anchor_number = 700, anchor_hash = (SELECT hash FROM audit_entries WHERE number = 700)")
		require.NoError(t, err)
		require.Contains(t, verifyAudit(t, s, host.AuditLink{}).Problem, "no entry says", "an entry would have been stored with it")
		n, err := s.PruneAudit(ctx, old.Add(time.Hour), host.Ourselves, false)
		require.NoError(t, err)
		require.EqualValues(t, 500, n)
		list := auditEntries(t, s, store.AuditFilter{})
		require.Len(t, list, 2)
		require.EqualValues(t, 1201, list[0].Number)
		require.Empty(t, verifyAudit(t, s, host.AuditLink{}).Problem)
	})
}

// Two daemons on one PostgreSQL append at once: the numbers have no gap, and the
// chain holds.
func TestTwoStoresAppendToOneAuditTrail(t *testing.T) {
	url := storetest.Postgres(t)
	stores := []*store.Store{open(t, url), open(t, url)}
	var tasks sync.WaitGroup
	for i, s := range stores {
		for worker := range 4 {
			tasks.Go(func() {
				ctx := context.Background()
				for n := range 20 {
					err := s.Update(ctx, func(tx *store.Tx) error {
						if err := tx.AppendAudit(ctx, auditEntry(fmt.Sprintf("%d-%d-%d", i, worker, n))); err != nil {
							return err
						}
						return tx.AppendAudit(ctx, auditEntry("second of one transaction"))
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	tasks.Wait()
	v := verifyAudit(t, stores[0], host.AuditLink{})
	require.Empty(t, v.Problem)
	require.EqualValues(t, 2*4*20*2, v.Entries)
}
