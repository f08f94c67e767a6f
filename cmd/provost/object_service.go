package main

import (
	"context"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// one finds what a name is of in a list of a few.
func one[T any](list []T, err error, what, name string, nameOf func(T) string) (found T, _ error) {
	if err != nil {
		return found, err
	}
	for _, v := range list {
		if nameOf(v) == name {
			return v, nil
		}
	}
	return found, host.Errorf(host.NotFound, "there is no %s %q", what, name)
}

func (s service) App(ctx context.Context, name string) (api.App, error) {
	list, err := s.apps(ctx, name)
	return one(list, err, "app", name, func(a api.App) string { return a.Name })
}

func (s service) Credential(ctx context.Context, name string) (api.Credential, error) {
	list, err := s.Credentials(ctx)
	return one(list, err, "credential", name, func(c api.Credential) string { return c.Name })
}

func (s service) Plugin(ctx context.Context, name string) (api.Plugin, error) {
	list, err := s.Plugins(ctx)
	return one(list, err, "connector", name, func(p api.Plugin) string { return p.Name })
}

func (s service) Notice(ctx context.Context, id string) (api.Notice, error) {
	list, err := s.Notices(ctx, time.Unix(0, 0))
	return one(list, err, "notice", id, func(n api.Notice) string { return n.Id })
}

func (s service) Profiles(ctx context.Context) ([]api.Holding, error) {
	return s.holdings(ctx, (*store.Tx).CountProfiles, func(c *host.UserProvisioningConfig) []string { return c.Profiles })
}

func (s service) PermissionSets(ctx context.Context) ([]api.Holding, error) {
	return s.holdings(ctx, (*store.Tx).CountPermissionSets, func(c *host.UserProvisioningConfig) []string { return c.PermissionSets })
}

// holdings are what users have or apps name, by name.
func (s service) holdings(ctx context.Context, count func(*store.Tx, context.Context) (map[string]int64, error), of func(*host.UserProvisioningConfig) []string) (list []api.Holding, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		users, err := count(t, ctx)
		if err != nil {
			return err
		}
		configs, err := t.Configs(ctx)
		if err != nil {
			return err
		}
		apps := map[string][]string{}
		for name := range users {
			apps[name] = []string{}
		}
		for _, c := range configs {
			for _, name := range of(c) {
				apps[name] = append(apps[name], c.AppName)
			}
		}
		list = nil
		for _, name := range slices.Sorted(maps.Keys(apps)) {
			list = append(list, api.Holding{Name: name, Users: users[name], Apps: apps[name]})
		}
		return nil
	})
	return list, err
}

func (s service) Groups(context.Context) ([]api.Group, error) {
	cfg := s.current.Load().config
	list := make([]api.Group, len(cfg.Groups))
	for i, g := range cfg.Groups {
		list[i] = api.Group{Name: g.Name, Members: slices.Clone(g.Members), Apps: []string{}}
		for _, a := range cfg.Apps {
			if a.ApprovalGroup == g.Name {
				list[i].Apps = append(list[i].Apps, a.Name)
			}
		}
	}
	return list, nil
}

func (s service) Memberships(ctx context.Context, user string) (m api.Memberships, err error) {
	err = s.store.View(ctx, func(t *store.Tx) error {
		u, err := findUser(ctx, t, user)
		if err != nil {
			return err
		}
		m = api.Memberships{UserId: u.Id, Profile: u.Profile, PermissionSets: append([]string{}, u.PermissionSets...), Groups: []string{}, Apps: []api.Grant{}}
		for _, g := range s.current.Load().config.Groups {
			if slices.ContainsFunc(g.Members, func(name string) bool { return name == u.Id || strings.EqualFold(name, u.Username) }) {
				m.Groups = append(m.Groups, g.Name)
			}
		}
		configs, err := t.Configs(ctx)
		if err != nil {
			return err
		}
		for _, c := range configs {
			grant, err := s.grantOf(ctx, t, c, u)
			if err != nil {
				return err
			}
			if len(grant.By) > 0 || grant.Account != "" {
				m.Apps = append(m.Apps, grant)
			}
		}
		return nil
	})
	return m, err
}

// grantOf tells why a user has an app.
func (s service) grantOf(ctx context.Context, t *store.Tx, c *host.UserProvisioningConfig, u *host.User) (api.Grant, error) {
	g := api.Grant{App: c.AppName, By: []string{}}
	a, err := t.AccountByUser(ctx, c.AppName, u.Id)
	if err == nil {
		g.Account = a.Name()
	} else if host.CodeOf(err) != host.NotFound {
		return g, err
	}
	if slices.Contains(u.Apps, c.AppName) {
		g.By = append(g.By, "assignment")
	}
	if u.Profile != "" && slices.Contains(c.Profiles, u.Profile) {
		g.By = append(g.By, "profile")
	}
	if slices.ContainsFunc(u.PermissionSets, func(set string) bool { return slices.Contains(c.PermissionSets, set) }) {
		g.By = append(g.By, "permission set")
	}
	rules, err := s.rulesOf(c.AppName)
	if err != nil {
		return g, nil // it is declared no more: nobody is in its scope
	}
	if in, err := rules.InScope(u); err != nil {
		return g, err
	} else if in && c.Scope != "" {
		g.By = append(g.By, "scope")
	}
	return g, nil
}

func (s service) RequestForAccount(ctx context.Context, account string, op host.Operation) (*host.UserProvisioningRequest, error) {
	a, err := s.Account(ctx, account)
	if err != nil {
		return nil, err
	}
	if a.UserId == "" || a.LinkState != host.Linked {
		return nil, host.Errorf(host.Conflict, "%s belongs to nobody: link it first   -> provost account link %s --user USER", a.Name(), a.Name())
	}
	return s.CreateRequest(ctx, a.UserId, a.AppName, op)
}

func (s service) System(ctx context.Context) (api.System, error) {
	machine, _ := os.Hostname() // a machine may have no name
	out := api.System{Version: version, Go: runtime.Version(), Host: machine, StartedAt: s.started, Now: time.Now(), Database: s.store.Dialect(),
		Config: s.current.Load().config.Digest(), File: s.current.Load().config.File, Memory: memoryBytes()}
	var err error
	if out.Schema, _, err = s.store.Schema(ctx); err != nil {
		return out, err
	}
	return out, s.store.View(ctx, func(t *store.Tx) error {
		out.Queue, err = s.queue.Depth(ctx, t.SQL())
		return err
	})
}
