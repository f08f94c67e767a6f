package main

import (
	"context"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// auditFilter is a filter as the store has it: people and requests by their ids.
func auditFilter(ctx context.Context, t *store.Tx, f api.AuditFilter) (q store.AuditFilter, err error) {
	q = store.AuditFilter{Actor: f.Actor, Action: f.Action, ObjectKind: f.Kind, ObjectName: f.Name, Outcome: f.Outcome,
		Since: f.Since, Until: f.Until, Before: f.Before, After: f.After, Limit: f.Limit}
	// Somebody may be gone, whose id is all that is left.
	idOf := func(name string) (string, error) {
		u, err := findUser(ctx, t, name)
		if host.CodeOf(err) == host.NotFound {
			return name, nil
		} else if err != nil {
			return "", err
		}
		return u.Id, nil
	}
	if f.Actor != "" && f.Actor != host.Ourselves && !host.IsAdministrator(f.Actor) && !host.IsOutsider(f.Actor) {
		if q.Actor, err = idOf(f.Actor); err != nil {
			return q, err
		}
	}
	if f.Kind == "user" && f.Name != "" {
		if q.ObjectName, err = idOf(f.Name); err != nil {
			return q, err
		}
	}
	if f.Request != "" {
		r, err := findRequest(ctx, t, f.Request)
		if host.CodeOf(err) == host.NotFound {
			q.RequestId = f.Request // it may have been pruned
			return q, nil
		} else if err != nil {
			return q, err
		}
		q.RequestId = r.Id
	}
	return q, nil
}

// AuditEntries, AuditLines, VerifyAudit and Declared are the API's audit trail.
func (s service) AuditEntries(ctx context.Context, f api.AuditFilter) (list []*api.AuditEntry, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		list = nil
		q, err := auditFilter(ctx, t, f)
		if err != nil {
			return err
		}
		q.Newest = true
		entries, err := t.AuditEntries(ctx, q)
		if err != nil {
			return err
		}
		var ids []string
		for _, e := range entries {
			if e.Actor != host.Ourselves && !host.IsAdministrator(e.Actor) && !host.IsOutsider(e.Actor) {
				ids = append(ids, e.Actor)
			}
		}
		names, err := t.Usernames(ctx, ids)
		for _, e := range entries {
			list = append(list, &api.AuditEntry{AuditEntry: e, ActorName: names[e.Actor]})
		}
		return err
	})
	return list, err
}

func (s service) AuditLines(ctx context.Context, f api.AuditFilter) (lines [][]byte, last int64, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		q, err := auditFilter(ctx, t, f)
		if err != nil {
			return err
		}
		lines, last, err = t.AuditLines(ctx, q)
		return err
	})
	return lines, last, err
}

func (s service) VerifyAudit(ctx context.Context, expect string) (v host.AuditVerification, err error) {
	var kept host.AuditLink
	if expect != "" {
		if kept, err = host.ParseAuditLink(expect); err != nil {
			return v, err
		}
	}
	err = s.store.View(ctx, func(t *store.Tx) error {
		v, err = t.VerifyAudit(ctx, kept)
		return err
	})
	return v, err
}

func (s service) Declared(ctx context.Context, d api.Declaration) error {
	return s.store.Update(ctx, func(t *store.Tx) error { return auditDeclaration(ctx, t, d) })
}
