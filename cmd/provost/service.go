package main

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/reconcile"
	"github.com/provosthq/provost/host/store"
)

// service is what the API does, over the daemon's parts.
type service struct{ *daemon }

var _ api.Service = service{}

func (s service) Status(ctx context.Context) (api.Status, error) {
	now := s.current.Load()
	out := api.Status{Version: version, Database: s.store.Dialect(), StartedAt: s.started, LastReloadError: now.refused,
		Config: now.config.Digest(), RefusedConfig: now.refusedDigest}
	err := s.store.View(ctx, func(t *store.Tx) error {
		depth, err := s.queue.Depth(ctx, t.SQL())
		if err != nil {
			return err
		}
		for _, n := range depth {
			out.Queue += n
		}
		if out.Users, err = t.CountUsers(ctx); err != nil {
			return err
		}
		configs, err := t.Configs(ctx)
		if err != nil {
			return err
		}
		out.Apps, err = appStatuses(ctx, t, configs)
		return err
	})
	return out, err
}

func appStatuses(ctx context.Context, t *store.Tx, configs []*host.UserProvisioningConfig) ([]api.AppStatus, error) {
	schedules, err := t.ReconSchedules(ctx)
	if err != nil {
		return nil, err
	}
	quarantined, err := t.CountPlans(ctx, host.PlanQuarantined)
	if err != nil {
		return nil, err
	}
	list := make([]api.AppStatus, len(configs))
	for i, c := range configs {
		a := api.AppStatus{Name: c.AppName, LastRun: c.LastReconDateTime, Quarantined: quarantined[c.AppName]}
		if s := schedules[c.AppName]; s != nil && s.Schedule == c.Reconcile.Schedule && c.Enabled {
			if next := reconcile.Next(c, s.LastDate); !next.IsZero() {
				a.NextRun = &next
			}
		}
		if a.Requests, err = t.CountRequestsByState(ctx, c.AppName); err != nil {
			return nil, err
		}
		if a.Accounts, err = t.CountAccountsByLinkState(ctx, c.AppName); err != nil {
			return nil, err
		}
		list[i] = a
	}
	return list, nil
}

func findUser(ctx context.Context, t *store.Tx, idOrName string) (*host.User, error) {
	u, err := t.User(ctx, idOrName)
	if host.CodeOf(err) == host.NotFound {
		return t.UserByUsername(ctx, idOrName)
	}
	return u, err
}

func (s service) User(ctx context.Context, idOrName string) (u *host.User, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		u, err = findUser(ctx, t, idOrName)
		return err
	})
	return u, err
}

func (s service) PutUser(ctx context.Context, given *host.User) (u *host.User, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		copied := *given // fn may run again
		u = &copied
		before, err := t.UserByUsername(ctx, u.Username)
		if u.Id != "" {
			before, err = t.User(ctx, u.Id)
		}
		if host.CodeOf(err) == host.NotFound && u.Id == "" {
			before = nil
		} else if err != nil {
			return err
		}
		if _, err = s.provision.SaveUser(ctx, tx{Tx: t, d: s.daemon}, before, u); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditUserPut, auditUser(u.Id), map[string]bool{"new": before == nil, "active": u.IsActive})
	})
	return u, err
}

// unchanged refuses a change of what is not any more as whoever changes it has
// seen it.
func unchanged(u *host.User, match string) error {
	if match == "" || api.Matches(match, api.UserETag(u)) {
		return nil
	}
	return host.Errorf(host.Changed, "the user %s was changed at %s, since you read it; look at it again and make your change there", u.Username, u.LastModifiedDate.UTC().Format(time.RFC3339))
}

func (s service) ChangeUser(ctx context.Context, idOrName, match string, change func(u *host.User) error) (u *host.User, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		before, err := findUser(ctx, t, idOrName)
		if err != nil {
			return err
		}
		if err := unchanged(before, match); err != nil {
			return err
		}
		if u, err = copyOf(before); err != nil {
			return err
		}
		if err := change(u); err != nil {
			return err
		}
		if other, err := t.UserByUsername(ctx, u.Username); err == nil && other.Id != before.Id {
			return &host.Error{Code: host.AlreadyExists, Field: "/Username", Message: "another user has it"}
		}
		if _, err = s.provision.SaveUser(ctx, tx{Tx: t, d: s.daemon}, before, u); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditUserPut, auditUser(u.Id), map[string]bool{"new": false, "active": u.IsActive})
	})
	return u, err
}

// copyOf shares nothing with u.
func copyOf(u *host.User) (*host.User, error) {
	text, err := json.Marshal(u)
	if err != nil {
		return nil, err
	}
	out := new(host.User)
	return out, json.Unmarshal(text, out)
}

func (s service) DeleteUser(ctx context.Context, idOrName, match string) error {
	return s.store.Update(ctx, func(t *store.Tx) error {
		u, err := findUser(ctx, t, idOrName)
		if err != nil {
			return err
		}
		if err := unchanged(u, match); err != nil {
			return err
		}
		if _, err = s.provision.Delete(ctx, tx{Tx: t, d: s.daemon}, u); err != nil {
			return err
		}
		return s.audit(ctx, t, host.AuditUserDelete, auditUser(u.Id), nil)
	})
}

func (s service) Assign(ctx context.Context, user, app string) error {
	return s.assign(ctx, user, app, true)
}

func (s service) Unassign(ctx context.Context, user, app string) error {
	return s.assign(ctx, user, app, false)
}

func (s service) assign(ctx context.Context, user, app string, assigned bool) error {
	return s.store.Update(ctx, func(t *store.Tx) error {
		u, err := findUser(ctx, t, user)
		if err != nil {
			return err
		}
		if _, err = s.provision.Assign(ctx, tx{Tx: t, d: s.daemon}, u.Id, app, assigned); err != nil {
			return err
		}
		action := host.AuditUserUnassign
		if assigned {
			action = host.AuditUserAssign
		}
		return s.audit(ctx, t, action, auditUser(u.Id), map[string]string{"app": app})
	})
}

func (s service) ImportUsers(ctx context.Context, in io.Reader, o api.ImportOptions, progress func(done, total int64)) (api.ImportResult, error) {
	r, err := s.provision.Import(ctx, in, provision.ImportOptions{Name: o.Name, Format: o.Format, Key: o.Key, Prune: o.Prune,
		KeepGoing: o.KeepGoing, Assign: o.Assign, Progress: progress, Imported: s.auditImport(o),
		MostDisabled: threshold(s.current.Load().config.Users.Disable), Smallest: smallestImport})
	return api.ImportResult(r), err
}

// smallestImport: a share of the people stops no import that disables so few.
const smallestImport = 10

// WouldChange tells what requests would change, for a dry run.
func (s service) WouldChange(ctx context.Context, list []*host.UserProvisioningRequest) (changes []*host.PlannedChange, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		for _, r := range list {
			c := &host.PlannedChange{Operation: r.Operation, UserId: r.UserId, UserProvAccountId: r.UserProvAccountId, Subject: r.AppName, Reason: r.Reason}
			if u, err := t.User(ctx, r.UserId); err == nil {
				c.Subject = u.Username + " in " + r.AppName
			} else if host.CodeOf(err) != host.NotFound { // it may be one of those that would be made
				return err
			}
			rules, err := s.rulesOf(r.AppName)
			if err != nil {
				return err
			}
			switch r.Operation {
			case host.Create:
				c.Differences = rules.Drift(r.Attributes, nil, false)
			case host.Update:
				var have map[string]any
				if a, err := t.AccountByUser(ctx, r.AppName, r.UserId); err == nil {
					have = a.Attributes
				} else if host.CodeOf(err) != host.NotFound {
					return err
				}
				for _, d := range rules.Drift(r.Attributes, have, false) {
					if slices.Contains(r.ChangedAttributes, d.Path) {
						c.Differences = append(c.Differences, d)
					}
				}
			}
			changes = append(changes, c)
		}
		return nil
	})
	return changes, err
}

func (s service) Apps(ctx context.Context) ([]api.App, error) { return s.apps(ctx, "") }

func (s service) AppLabels(ctx context.Context) (list []api.AppLabel, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		configs, err := t.Configs(ctx)
		for _, c := range configs {
			list = append(list, api.AppLabel{Name: c.AppName, Label: c.MasterLabel})
		}
		return err
	})
	return list, err
}

// apps are all, or the one of a name.
func (s service) apps(ctx context.Context, only string) (list []api.App, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		configs, err := t.Configs(ctx)
		if err != nil {
			return err
		}
		configs = slices.DeleteFunc(configs, func(c *host.UserProvisioningConfig) bool { return only != "" && c.AppName != only })
		statuses, err := appStatuses(ctx, t, configs)
		if err != nil {
			return err
		}
		for i, c := range configs {
			status := statuses[i]
			if !c.Enabled && len(status.Accounts)+len(status.Requests) == 0 && s.current.Load().config.DeclaredIn("apps", c.AppName) == "" {
				continue // it is declared no more, and has left nothing
			}
			list = append(list, api.App{Name: c.AppName, Label: c.MasterLabel, Config: c, AppStatus: status})
		}
		return nil
	})
	return list, err
}

// findRequest finds a request by id, name or number.
func findRequest(ctx context.Context, t *store.Tx, id string) (*host.UserProvisioningRequest, error) {
	if n, err := strconv.ParseInt(strings.TrimPrefix(strings.ToUpper(id), "UPR-"), 10, 64); err == nil {
		return t.RequestByNumber(ctx, n)
	}
	return t.Request(ctx, id)
}

func (s service) Request(ctx context.Context, id string) (r *host.UserProvisioningRequest, logs []*host.UserProvisioningLog, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		if r, err = findRequest(ctx, t, id); err != nil {
			return err
		}
		logs, err = t.Logs(ctx, r.Id)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return r, logs, nil
}

func (s service) CreateRequest(ctx context.Context, user, app string, op host.Operation) (r *host.UserProvisioningRequest, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		u, err := findUser(ctx, t, user)
		if err != nil {
			return err
		}
		if r, err = s.provision.CreateRequest(ctx, tx{Tx: t, d: s.daemon}, u.Id, app, op); err != nil {
			return err
		}
		return s.auditRequest(ctx, t, host.AuditRequestCreate, r, nil)
	})
	return r, err
}

// act does something to a request that is named by id, name or number, and
// notes it as action in the audit trail; also that somebody tried who may not.
func (s service) act(ctx context.Context, action host.AuditAction, id string, do func(t tx, id string) (*host.UserProvisioningRequest, error)) (r *host.UserProvisioningRequest, err error) {
	return s.actWith(ctx, action, nil, id, do)
}

// actWith is act with details, which are read at the end.
func (s service) actWith(ctx context.Context, action host.AuditAction, details map[string]any, id string, do func(t tx, id string) (*host.UserProvisioningRequest, error)) (r *host.UserProvisioningRequest, err error) {
	name := ""
	err = s.store.Update(ctx, func(t *store.Tx) error {
		found, err := findRequest(ctx, t, id)
		if err != nil {
			return err
		}
		name = found.Name()
		if r, err = do(tx{Tx: t, d: s.daemon}, found.Id); err != nil {
			return err
		}
		return s.auditRequest(ctx, t, action, r, details)
	})
	if host.CodeOf(err) == host.PermissionDenied {
		s.auditRefused(ctx, action, host.AuditObject{Kind: "request", Name: name}, err, nil)
	}
	return r, err
}

func (s service) Retry(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditRequestRetry, id, func(t tx, id string) (*host.UserProvisioningRequest, error) { return s.provision.Retry(ctx, t, id) })
}

// RunAgain makes a request as if a person asked for it. Where an account is there,
// its values are sent again in the place of making it a second time.
func (s service) RunAgain(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	details := map[string]any{}
	return s.actWith(ctx, host.AuditRequestCreate, details, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		was, err := t.Request(ctx, id)
		if err != nil {
			return nil, err
		}
		switch {
		case was.Operation == host.Reconcile || was.UserId == "":
			return nil, host.Errorf(host.Unsupported, "%s is for no person; reconcile %s instead", was.Name(), was.AppName)
		case !was.State.Ended():
			return nil, host.Errorf(host.Conflict, "%s is %s; only what has ended is run again", was.Name(), was.State)
		case was.State == host.StateFailed:
			return nil, host.Errorf(host.Conflict, "%s has failed: retry it, which goes on where it was   -> provost request retry %s", was.Name(), was.Name())
		}
		op := was.Operation
		if op == host.Create {
			switch _, err := t.AccountByUser(ctx, was.AppName, was.UserId); {
			case err == nil:
				op = host.Update
			case host.CodeOf(err) != host.NotFound:
				return nil, err
			}
		}
		details["again"] = was.Name()
		return s.provision.CreateRequest(ctx, t, was.UserId, was.AppName, op)
	})
}

func (s service) Cancel(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditRequestCancel, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		if r, err := t.Request(ctx, id); err == nil && r.Operation == host.Reconcile {
			return s.reconcile.Cancel(ctx, t, id)
		}
		return s.provision.Cancel(ctx, t, id)
	})
}

func (s service) Complete(ctx context.Context, id, note string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditRequestComplete, id, func(t tx, id string) (*host.UserProvisioningRequest, error) {
		return s.provision.CompleteManually(ctx, t, id, cmp.Or(note, "a person has done it"))
	})
}

func (s service) Commit(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	return s.act(ctx, host.AuditReconcileCommit, id, func(t tx, id string) (*host.UserProvisioningRequest, error) { return s.reconcile.Commit(ctx, t, id) })
}

func (s service) Reconcile(ctx context.Context, app string, o api.ReconcileOptions) (r *host.UserProvisioningRequest, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		r, err = s.reconcile.Start(ctx, tx{Tx: t, d: s.daemon}, app, reconcile.RunOptions{Filter: o.Filter, Mode: o.Mode, Commit: o.Commit})
		if err != nil {
			return err
		}
		return s.auditRequest(ctx, t, host.AuditReconcileStart, r, map[string]any{"mode": o.Mode, "commit": o.Commit})
	})
	return r, err
}

// changeAccount changes how an account is linked. It is a person's word, so
// later runs keep it.
func (s service) changeAccount(ctx context.Context, action host.AuditAction, id string, change func(t *store.Tx, a *host.UserProvAccount) error) (a *host.UserProvAccount, err error) {
	err = s.store.Update(ctx, func(t *store.Tx) error {
		if a, err = findAccount(ctx, t, id); err != nil {
			return err
		}
		before := linkOf(a)
		if err := change(t, a); err != nil {
			return err
		}
		if err := t.PutAccount(ctx, a); err != nil {
			return err
		}
		return s.audit(ctx, t, action, host.AuditObject{Kind: "account", Name: a.Name()}, map[string]any{"app": a.AppName, "before": before, "after": linkOf(a)})
	})
	return a, err
}

func findAccount(ctx context.Context, t *store.Tx, id string) (*host.UserProvAccount, error) {
	a, err := t.Account(ctx, strings.ToUpper(id))
	if host.CodeOf(err) == host.NotFound {
		a, err = t.Account(ctx, id)
	}
	if err != nil {
		return nil, host.Errorf(host.CodeOf(err), "account %s: %w", id, err)
	}
	return a, nil
}

func (s service) Link(ctx context.Context, id, user string) (*host.UserProvAccount, error) {
	return s.changeAccount(ctx, host.AuditAccountLink, id, func(t *store.Tx, a *host.UserProvAccount) error { return linkTo(ctx, t, a, user) })
}

// linkTo links an account to a user, who has no other of the app.
func linkTo(ctx context.Context, t *store.Tx, a *host.UserProvAccount, user string) error {
	u, err := findUser(ctx, t, user)
	if err != nil {
		return err
	}
	other, err := t.AccountByUser(ctx, a.AppName, u.Id)
	if err == nil && other.Id != a.Id {
		return host.Errorf(host.Conflict, "%s has account %s in %s already   -> provost account unlink %s", u.DisplayName(), other.ExternalUsername, a.AppName, other.Name())
	}
	if err != nil && host.CodeOf(err) != host.NotFound {
		return err
	}
	a.UserId, a.LinkState, a.IsKnownLink, a.Candidates = u.Id, host.Linked, true, nil
	return nil
}

func (s service) Unlink(ctx context.Context, id string) (*host.UserProvAccount, error) {
	return s.changeAccount(ctx, host.AuditAccountUnlink, id, func(_ *store.Tx, a *host.UserProvAccount) error {
		a.UserId, a.LinkState, a.IsKnownLink, a.Candidates = "", host.Orphaned, true, nil
		return nil
	})
}

func (s service) Ignore(ctx context.Context, id string) (*host.UserProvAccount, error) {
	return s.changeAccount(ctx, host.AuditAccountIgnore, id, func(_ *store.Tx, a *host.UserProvAccount) error {
		a.LinkState, a.IsKnownLink, a.Candidates = host.Ignored, true, nil
		return nil
	})
}
