package api

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

func (s scoped) Plugins(ctx context.Context) ([]Plugin, error) {
	list, err := s.Service.Plugins(ctx)
	for i := range list { // each may be chosen for an app of one's own
		list[i].Apps = seen(ctx, list[i].Apps)
	}
	return list, err
}

func (s scoped) Plugin(ctx context.Context, name string) (Plugin, error) {
	p, err := s.Service.Plugin(ctx, name)
	p.Apps = seen(ctx, p.Apps)
	return p, err
}

// Builds say who brought them.
func (s scoped) Builds(ctx context.Context, connector string) ([]Build, error) {
	list, err := s.Service.Builds(ctx, connector)
	if !reads(ctx) {
		for _, b := range list {
			maskActors(&b.By)
		}
	}
	return list, err
}

// visible tells whether the subject sees a credential: one that its apps use,
// or nobody's.
func visible(ctx context.Context, c *Credential) bool {
	return !limited(ctx) || len(c.Apps) == 0 || len(seen(ctx, c.Apps)) > 0
}

func shownCredential(ctx context.Context, c *Credential) {
	c.Apps = seen(ctx, c.Apps)
	if limited(ctx) {
		c.Uses = slices.DeleteFunc(slices.Clone(c.Uses), func(u CredentialUse) bool { return !sees(ctx, u.App) })
	}
	if !reads(ctx) {
		for _, a := range c.Authorizations {
			maskTexts(&a.Principal)
			maskActors(&a.GrantedBy)
		}
	}
}

func (s scoped) Credentials(ctx context.Context) ([]Credential, error) {
	list, err := s.Service.Credentials(ctx)
	list = slices.DeleteFunc(list, func(c Credential) bool { return !visible(ctx, &c) })
	for i := range list {
		shownCredential(ctx, &list[i])
	}
	return list, err
}

func (s scoped) Credential(ctx context.Context, name string) (Credential, error) {
	c, err := s.Service.Credential(ctx, name)
	if err == nil && !visible(ctx, &c) {
		return Credential{}, host.Errorf(host.NotFound, "there is no credential %q", name)
	}
	shownCredential(ctx, &c)
	return c, err
}

// credential is one that the route lets the subject change: all apps that use
// it are the subject's.
func (s scoped) credential(ctx context.Context, name string) error {
	if access.At(ctx, "") {
		return nil
	}
	c, err := s.Service.Credential(ctx, name)
	switch {
	case err != nil:
		return err
	case !visible(ctx, &c):
		return host.Errorf(host.NotFound, "there is no credential %q", name)
	case len(c.Apps) == 0 || slices.ContainsFunc(c.Apps, func(app string) bool { return !access.At(ctx, app) }):
		return host.Errorf(host.PermissionDenied, "%s is not of your apps alone", name)
	default:
		return nil
	}
}

func (s scoped) TestCredential(ctx context.Context, name, user, path string) ([]TestStep, error) {
	if err := s.credential(ctx, name); err != nil {
		return nil, err
	}
	return s.Service.TestCredential(ctx, name, user, path)
}

func (s scoped) Authorize(ctx context.Context, name string, o AuthorizeOptions) (*Authorizing, error) {
	if err := s.credential(ctx, name); err != nil {
		return nil, err
	}
	return s.Service.Authorize(ctx, name, o)
}

func (s scoped) RevokeCredential(ctx context.Context, name, user string) (string, error) {
	if err := s.credential(ctx, name); err != nil {
		return "", err
	}
	return s.Service.RevokeCredential(ctx, name, user)
}

func (s scoped) ForgetCredential(ctx context.Context, name string) error {
	if err := s.credential(ctx, name); err != nil {
		return err
	}
	return s.Service.ForgetCredential(ctx, name)
}

// setting refuses an entry that the route is not for. What is no app belongs to
// the whole host.
func setting(ctx context.Context, list, name string) error {
	if list == "apps" {
		return at(ctx, name)
	}
	if !access.At(ctx, "") {
		return host.Errorf(host.NotFound, "there is no %s of %s", name, list)
	}
	return nil
}

// uses refuses an app that would use a credential of others' apps.
func (s scoped) uses(ctx context.Context, list string, document []byte) error {
	var app struct{ Credential string }
	if list != "apps" || json.Unmarshal(document, &app) != nil {
		return nil // it is said what is wrong with it
	}
	return s.mayUse(ctx, app.Credential)
}

// mayUse refuses a credential of others' apps: through an app of one's own it
// could be sent anything.
func (s scoped) mayUse(ctx context.Context, credential string) error {
	if credential == "" || !limited(ctx) {
		return nil
	}
	if _, err := s.Credential(ctx, credential); err != nil {
		return &host.Error{Code: host.PermissionDenied, Field: "credential", Message: credential + " is none of your apps' credentials; somebody who manages all must say so"}
	}
	return nil
}

func (s scoped) Settings(ctx context.Context, list string) ([]Setting, error) {
	all, err := s.Service.Settings(ctx, list)
	return slices.DeleteFunc(all, func(one Setting) bool { return setting(ctx, one.List, one.Name) != nil }), err
}

func (s scoped) Setting(ctx context.Context, list, name string) (Setting, error) {
	if err := setting(ctx, list, name); err != nil {
		return Setting{}, err
	}
	return s.Service.Setting(ctx, list, name)
}

func (s scoped) CheckSetting(ctx context.Context, list, name string, document []byte) error {
	if err := setting(ctx, list, name); err != nil {
		return err
	}
	return s.Service.CheckSetting(ctx, list, name, document)
}

func (s scoped) PutSetting(ctx context.Context, list, name string, document []byte, revision int64) (Setting, error) {
	if err := setting(ctx, list, name); err != nil {
		return Setting{}, err
	}
	if err := s.uses(ctx, list, document); err != nil {
		return Setting{}, err
	}
	return s.Service.PutSetting(ctx, list, name, document, revision)
}

func (s scoped) DeleteSetting(ctx context.Context, list, name string, revision int64) error {
	if err := setting(ctx, list, name); err != nil {
		return err
	}
	return s.Service.DeleteSetting(ctx, list, name, revision)
}

// Notices are, for one who sees some apps, those of the apps, their connectors
// and credentials, runs and plans.
func (s scoped) Notices(ctx context.Context, since time.Time) ([]Notice, error) {
	list, err := s.Service.Notices(ctx, since)
	if err != nil || !limited(ctx) {
		return list, err
	}
	own, err := s.subjects(ctx)
	return slices.DeleteFunc(list, func(n Notice) bool { return !s.isOf(ctx, n, own) }), err
}

func (s scoped) Notice(ctx context.Context, id string) (Notice, error) {
	n, err := s.Service.Notice(ctx, id)
	if err != nil || !limited(ctx) {
		return n, err
	}
	own, err := s.subjects(ctx)
	if err == nil && !s.isOf(ctx, n, own) {
		return Notice{}, host.Errorf(host.NotFound, "there is no notice %q", id)
	}
	return n, err
}

// subjects are the names that notices have which are of the subject's apps.
func (s scoped) subjects(ctx context.Context) (names map[string]bool, err error) {
	names = map[string]bool{}
	apps, err := s.Apps(ctx)
	for _, a := range apps {
		names[a.Name] = true
		if a.Config != nil {
			names[a.Config.Connector] = true
			names[a.Config.NamedCredentialId] = true
		}
	}
	return names, err
}

func (s scoped) isOf(ctx context.Context, n Notice, own map[string]bool) bool {
	if own[n.Subject] {
		return true
	}
	switch {
	case strings.HasPrefix(n.Subject, "UPR-"):
		_, _, err := s.request(ctx, n.Subject)
		return err == nil
	case strings.HasPrefix(n.Subject, "PLN-"):
		_, err := s.plan(ctx, n.Subject)
		return err == nil
	default:
		return false
	}
}

// AuditEntries name people where the subject may see that.
func (s scoped) AuditEntries(ctx context.Context, f AuditFilter) ([]*AuditEntry, error) {
	list, err := s.Service.AuditEntries(ctx, f)
	if !reads(ctx) {
		for _, e := range list {
			maskTexts(&e.ActorName)
		}
	}
	return list, err
}

func (s scoped) Erasures(ctx context.Context) ([]*Erasure, error) {
	list, err := s.Service.Erasures(ctx)
	if !reads(ctx) {
		for _, e := range list {
			maskActors(&e.Actor)
		}
	}
	return list, err
}

func (s scoped) Wizards(ctx context.Context) ([]*Wizard, error) {
	list, err := s.Service.Wizards(ctx)
	return slices.DeleteFunc(list, func(w *Wizard) bool { return !access.At(ctx, w.App) }), err
}

func (s scoped) Wizard(ctx context.Context, app string) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.Wizard(ctx, app)
}

func (s scoped) SaveWizard(ctx context.Context, app, step string, save WizardSave) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	credential, _ := save.Values["credential"].(string)
	if err := s.mayUse(ctx, credential); err != nil {
		return nil, err
	}
	return s.Service.SaveWizard(ctx, app, step, save)
}

func (s scoped) DropWizard(ctx context.Context, app string) error {
	if err := at(ctx, app); err != nil {
		return err
	}
	return s.Service.DropWizard(ctx, app)
}

func (s scoped) TryWizard(ctx context.Context, app string, t WizardTrial) (*Mapping, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	m, err := s.Service.TryWizard(ctx, app, t)
	if err == nil && !readsOf(ctx, app) {
		maskMapping(m)
	}
	return m, err
}

func (s scoped) SuggestWizard(ctx context.Context, app string) (*WizardSuggestions, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.SuggestWizard(ctx, app)
}

func (s scoped) CollectWizard(ctx context.Context, app string, revision int64) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.CollectWizard(ctx, app, revision)
}

func (s scoped) CommitWizard(ctx context.Context, app string, c WizardCommit) (*Wizard, error) {
	if err := at(ctx, app); err != nil {
		return nil, err
	}
	return s.Service.CommitWizard(ctx, app, c)
}

func (s scoped) Following(ctx context.Context, id string, op host.Operation, after string, limit int) (*Following, error) {
	r, _, err := s.request(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := s.Service.Following(ctx, id, op, after, limit)
	if err == nil && !readsOf(ctx, r.AppName) {
		maskChanges(f.Changes)
	}
	return f, err
}
