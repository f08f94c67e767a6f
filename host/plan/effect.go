package plan

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// EffectRules are the rules of an app with those that link accounts.
type EffectRules interface {
	Rules
	Len() int
	Fuzzy(i int) bool
	UserKeys(u *host.User) ([]host.UserKey, error)
	AccountKeys(i int, a *host.UserProvAccountStaging) (keys []string, value string, err error)
}

// Effect looks at every user and account of an app, and says what other rules
// would make of them. Nothing is stored. examples is how many are named.
func (e *Engine) Effect(ctx context.Context, app string, now, then EffectRules, examples int) (*host.Effect, error) {
	f := &effect{Effect: host.Effect{AppName: app, Paths: map[string]int64{}}, now: now, then: then, most: examples,
		seed: maphash.MakeSeed(), byKey: map[uint64]int32{}}
	if err := e.Store.View(ctx, func(tx Tx) error { _, err := tx.Config(ctx, app); return err }); err != nil {
		return nil, err
	}
	if err := e.eachUserPage(func(after *string) (n int, err error) {
		var users []*host.User
		if err := e.Store.View(ctx, func(tx Tx) (err error) { users, err = tx.UsersWithApps(ctx, *after, batch); return err }); err != nil || len(users) == 0 {
			return 0, err
		}
		*after = users[len(users)-1].Id
		for _, u := range users {
			f.user(u)
		}
		return len(users), ctx.Err()
	}); err != nil {
		return nil, err
	}
	for after, n := int64(0), batch; n == batch; {
		var page []*host.UserProvAccount
		if err := e.Store.View(ctx, func(tx Tx) (err error) { page, err = tx.AppAccounts(ctx, app, after, batch); return err }); err != nil {
			return nil, err
		}
		for _, a := range page {
			after = a.Number
			f.account(a)
		}
		if n = len(page); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return &f.Effect, nil
}

// effect is a [host.Effect] while it is found. Users are kept as the hashes of
// their keys, so that a million of them take little room.
type effect struct {
	host.Effect
	now, then EffectRules
	most      int
	seed      maphash.Seed
	byKey     map[uint64]int32 // the user's place in names, or several
	ids       []string
	names     []string
}

const several = -1

func (f *effect) example(subject, what, path string, now, then any) {
	if len(f.Examples) < f.most {
		f.Examples = append(f.Examples, host.EffectExample{Subject: subject, What: what, Path: path, Now: now, Then: then})
	}
}

func (f *effect) fails(subject string, err error) {
	f.Failing++
	f.example(subject, "failing", "", nil, err.Error())
}

func (f *effect) user(u *host.User) {
	f.Users++
	if keys, err := f.then.UserKeys(u); err == nil { // a rule that makes nothing of a user links nobody
		f.ids, f.names = append(f.ids, u.Id), append(f.names, u.Username)
		for _, k := range keys {
			if f.then.Fuzzy(k.Rule) {
				continue
			}
			key := f.hash(k.Rule, k.Key)
			if _, there := f.byKey[key]; there {
				f.byKey[key] = several
			} else {
				f.byKey[key] = int32(len(f.ids) - 1)
			}
		}
	}
	was, err := should(f.now, u)
	if err != nil {
		was = false
	}
	is, err := should(f.then, u)
	if err != nil {
		f.fails(u.Username, err)
		return
	}
	switch {
	case is && !was:
		f.Granted++
		f.example(u.Username, "granted", "", nil, nil)
	case was && !is:
		f.Withdrawn++
		f.example(u.Username, "withdrawn", "", nil, nil)
		return
	case !is:
		return
	}
	then, err := f.then.Apply(u)
	if err != nil {
		f.fails(u.Username, err)
		return
	}
	if !was {
		return
	}
	now, err := f.now.Apply(u)
	if err != nil {
		now = nil // they have no values yet; all of then are new
	}
	paths := f.then.Changed(now, then)
	for _, path := range f.now.Changed(then, now) { // those that the new rules don't make at all
		if _, has := pdk.GetPath(then, path); !has {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return
	}
	f.Changed++
	seen := map[string]bool{}
	for _, path := range paths {
		if seen[path] {
			continue
		}
		seen[path] = true
		f.Paths[path]++
		before, _ := pdk.GetPath(now, path)
		after, _ := pdk.GetPath(then, path)
		f.example(u.Username, "changed", path, before, after)
	}
}

func (f *effect) hash(rule int, key string) uint64 {
	return maphash.String(f.seed, fmt.Sprintf("%d %s", rule, key))
}

func (f *effect) account(a *host.UserProvAccount) {
	f.Accounts++
	if a.IsKnownLink || a.LinkState == host.Ignored || a.DeletedDate != nil {
		return // no rule is asked about those
	}
	s := &host.UserProvAccountStaging{ExternalUserId: a.ExternalUserId, ExternalUsername: a.ExternalUsername, ExternalFirstName: a.ExternalFirstName,
		ExternalLastName: a.ExternalLastName, ExternalEmail: a.ExternalEmail, Status: a.Status, Attributes: a.Attributes}
	user := f.owner(s)
	subject := a.ExternalUsername
	if subject == "" {
		subject = a.ExternalUserId
	}
	switch {
	case user < 0 || a.LinkState == host.Linked && a.UserId == f.ids[user]:
	case a.LinkState == host.Linked:
		f.Relinked++
		f.example(subject, "relinked", "", nil, f.names[user])
	default:
		f.Linked++
		f.example(subject, "linked", "", string(a.LinkState), f.names[user])
	}
}

// owner is the user whom the first rule that finds somebody finds, several if
// it finds more than one, and less for nobody.
func (f *effect) owner(s *host.UserProvAccountStaging) int32 {
	for i := range f.then.Len() {
		if f.then.Fuzzy(i) {
			continue
		}
		keys, _, err := f.then.AccountKeys(i, s)
		if err != nil {
			continue
		}
		for _, key := range keys {
			if user, found := f.byKey[f.hash(i, key)]; found {
				return user
			}
		}
	}
	return several - 1
}
