package api

import (
	"context"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// mayAsk refuses a search or an expression to one from whom names are hidden:
// what is found would tell them.
func mayAsk(ctx context.Context, question string) error {
	if question == "" || reads(ctx) {
		return nil
	}
	return host.Errorf(host.PermissionDenied, "what a search finds tells of people: this needs %s", access.ViewPersonalData)
}

func (s scoped) Users(ctx context.Context, f UserFilter) (l Listing[*host.User], err error) {
	if err := mayAsk(ctx, f.Query); err != nil {
		return l, err
	}
	l, err = s.Service.Users(ctx, f)
	s.shownUsers(ctx, l.Rows...)
	return l, err
}

func (s scoped) CountUsers(ctx context.Context, f UserFilter) (Count, error) {
	if err := mayAsk(ctx, f.Query); err != nil {
		return Count{}, err
	}
	return s.Service.CountUsers(ctx, f)
}

func (s scoped) UsersWhere(ctx context.Context, where, after string, limit int) ([]*host.User, error) {
	if err := mayAsk(ctx, where); err != nil {
		return nil, err
	}
	list, err := s.Service.UsersWhere(ctx, where, after, limit)
	s.shownUsers(ctx, list...)
	return list, err
}

func (s scoped) User(ctx context.Context, idOrName string) (*host.User, error) {
	u, err := s.Service.User(ctx, idOrName)
	if err == nil && !reads(ctx) && u.Id != idOrName {
		return nil, host.Errorf(host.NotFound, "there is no user %q", idOrName) // a name would be a question, too
	}
	if err == nil {
		s.shownUsers(ctx, u)
	}
	return u, err
}

func (s scoped) ChangeUser(ctx context.Context, idOrName, match string, change func(u *host.User) error) (*host.User, error) {
	u, err := s.Service.ChangeUser(ctx, idOrName, match, change)
	if err == nil {
		s.shownUsers(ctx, u)
	}
	return u, err
}

// shownUsers hides what of users is not for the subject.
func (s scoped) shownUsers(ctx context.Context, list ...*host.User) {
	for _, u := range list {
		u.Apps = seen(ctx, u.Apps)
		if !reads(ctx) {
			maskUser(u)
		}
	}
}

func (s scoped) Memberships(ctx context.Context, user string) (Memberships, error) {
	u, err := s.User(ctx, user)
	if err != nil {
		return Memberships{}, err
	}
	m, err := s.Service.Memberships(ctx, u.Id)
	m.Apps, err = kept(ctx, m.Apps, err, func(g Grant) string { return g.App })
	return m, err
}

func (s scoped) Profiles(ctx context.Context) ([]Holding, error) {
	list, err := s.Service.Profiles(ctx)
	return s.holdings(ctx, list), err
}

func (s scoped) PermissionSets(ctx context.Context) ([]Holding, error) {
	list, err := s.Service.PermissionSets(ctx)
	return s.holdings(ctx, list), err
}

func (s scoped) holdings(ctx context.Context, list []Holding) []Holding {
	for i := range list {
		list[i].Apps = seen(ctx, list[i].Apps)
	}
	return list
}

func (s scoped) Groups(ctx context.Context) ([]Group, error) {
	list, err := s.Service.Groups(ctx)
	for i := range list {
		list[i].Apps = seen(ctx, list[i].Apps)
		if !reads(ctx) {
			list[i].Members = hiddenAll(list[i].Members)
		}
	}
	return list, err
}

// Usernames and People are of those, too, of whom the subject has something to
// decide.
func (s scoped) Usernames(ctx context.Context, ids []string) (map[string]string, error) {
	names, err := s.Service.Usernames(ctx, ids)
	if err != nil || reads(ctx) {
		return names, err
	}
	known, err := s.decidesAbout(ctx)
	for id := range names {
		if !known[id] {
			names[id] = hidden
		}
	}
	return names, err
}

func (s scoped) People(ctx context.Context, ids []string) (map[string]Person, error) {
	people, err := s.Service.People(ctx, ids)
	if err != nil || reads(ctx) {
		return people, err
	}
	known, err := s.decidesAbout(ctx)
	for id := range people {
		if !known[id] {
			people[id] = Person{Id: id, Username: hidden, DisplayName: hidden}
		}
	}
	return people, err
}

// decidesAbout are the users, and the subject itself, of whom it has something
// to decide.
func (s scoped) decidesAbout(ctx context.Context) (map[string]bool, error) {
	who := access.SubjectOf(ctx)
	if who.UserId == "" || !who.May(access.ApproveRequests) {
		return nil, nil
	}
	l, err := s.Service.Requests(ctx, RequestFilter{Approver: who.UserId, Paging: Paging{Limit: 1000}})
	known := map[string]bool{who.UserId: true}
	for _, r := range l.Rows {
		known[r.UserId] = true
	}
	return known, err
}
