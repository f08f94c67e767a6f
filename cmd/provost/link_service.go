package main

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// relinking is what takes a change of links back: how accounts were, and how
// the change left them.
type relinking struct {
	App   string
	Left  linked `json:",omitzero"`
	Links []wasLinked
}

// wasLinked is how an account was linked.
type wasLinked struct {
	Account    string
	Was        linked
	Candidates []host.Candidate `json:",omitempty"`
}

// undoPurpose is what an undo is sealed for.
const undoPurpose = "undo of links"

// mostUndo bounds what a sealed undo may become, in bytes.
const mostUndo = 8 << 20

func (s service) Relink(ctx context.Context, app string, c api.LinkChange) (done api.Relinked, err error) {
	action, known := map[string]host.AuditAction{"link": host.AuditAccountLink, "unlink": host.AuditAccountUnlink, "ignore": host.AuditAccountIgnore}[c.Verb]
	switch {
	case !known:
		return done, &host.Error{Code: host.InvalidInput, Field: "verb", Message: "there is link, unlink and ignore"}
	case len(c.Accounts) == 0 || len(c.Accounts) > api.MostRelinked:
		return done, &host.Error{Code: host.InvalidInput, Field: "accounts", Message: fmt.Sprintf("name 1 to %d accounts", api.MostRelinked)}
	case c.Verb == "link" && (len(c.Accounts) != 1 || c.User == ""):
		return done, &host.Error{Code: host.InvalidInput, Field: "user", Message: "a user has one account of an app; name one account, and whose it is"}
	}
	var undo relinking
	err = s.store.Update(ctx, func(t *store.Tx) error {
		undo, done.Accounts = relinking{App: app}, 0
		for _, id := range c.Accounts {
			a, err := accountOf(ctx, t, app, id)
			if err != nil {
				return err
			}
			was := wasLinked{Account: a.Id, Was: linkOf(a), Candidates: a.Candidates}
			if err := relink(ctx, t, a, c); err != nil {
				return err
			}
			undo.Left = linkOf(a)
			if err := s.putLink(ctx, t, action, a, was.Was); err != nil {
				return err
			}
			undo.Links, done.Accounts = append(undo.Links, was), done.Accounts+1
		}
		return nil
	})
	if err == nil {
		done.Undo, err = s.sealUndo(undo)
	}
	return done, err
}

// relink changes how an account is linked: a person's word, so later runs keep
// it.
func relink(ctx context.Context, t *store.Tx, a *host.UserProvAccount, c api.LinkChange) error {
	switch c.Verb {
	case "link":
		return linkTo(ctx, t, a, c.User)
	case "unlink":
		a.UserId, a.LinkState = "", host.Orphaned
	default:
		a.LinkState = host.Ignored
	}
	a.IsKnownLink, a.Candidates = true, nil
	return nil
}

// accountOf finds an account of an app.
func accountOf(ctx context.Context, t *store.Tx, app, id string) (*host.UserProvAccount, error) {
	a, err := findAccount(ctx, t, id)
	if err == nil && a.AppName != app {
		err = host.Errorf(host.NotFound, "%s has no account %s", app, id)
	}
	return a, err
}

// putLink stores how an account is linked now, and notes it.
func (s service) putLink(ctx context.Context, t *store.Tx, action host.AuditAction, a *host.UserProvAccount, before linked) error {
	if err := t.PutAccount(ctx, a); err != nil {
		return err
	}
	return s.audit(ctx, t, action, host.AuditObject{Kind: "account", Name: a.Name()}, map[string]any{"app": a.AppName, "before": before, "after": linkOf(a)})
}

func (s service) UndoRelink(ctx context.Context, app, text string) (n int64, err error) {
	undo, err := s.unsealUndo(text)
	if err != nil || undo.App != app {
		return 0, &host.Error{Code: host.InvalidInput, Field: "undo", Message: "it is none of a change of links of " + app}
	}
	err = s.store.Update(ctx, func(t *store.Tx) error {
		n = 0
		for _, was := range undo.Links {
			a, err := accountOf(ctx, t, app, was.Account)
			if err != nil {
				return err
			}
			now := linkOf(a)
			if now.LinkState != undo.Left.LinkState || !now.ByHand || now.LinkState == host.Linked && now.User != undo.Left.User {
				return host.Errorf(host.Conflict, "%s was changed since; nothing was undone", a.Name())
			}
			if was.Was.LinkState == host.Linked {
				if err := linkTo(ctx, t, a, was.Was.User); err != nil {
					return err
				}
			}
			a.LinkState, a.UserId, a.IsKnownLink, a.Candidates = was.Was.LinkState, was.Was.User, was.Was.ByHand, was.Candidates
			if err := s.putLink(ctx, t, host.AuditAccountUndo, a, now); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// sealUndo writes an undo so that nobody can make another of it.
func (s service) sealUndo(undo relinking) (string, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if err := json.NewEncoder(w).Encode(undo); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return s.store.Seal(undoPurpose, b.Bytes()), nil
}

func (s service) unsealUndo(text string) (undo relinking, err error) {
	sealed, err := s.store.Unseal(undoPurpose, text)
	if err != nil {
		return undo, err
	}
	return undo, json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(sealed)), mostUndo)).Decode(&undo)
}
