package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// ObjectService is what the API needs to show one of what is listed, and what
// is listed of no app.
type ObjectService interface {
	App(ctx context.Context, name string) (App, error)
	Credential(ctx context.Context, name string) (Credential, error)
	Plugin(ctx context.Context, name string) (Plugin, error)
	// Notice finds one by its id.
	Notice(ctx context.Context, id string) (Notice, error)
	// Profiles and PermissionSets are those that people have, and those that grant
	// apps.
	Profiles(ctx context.Context) ([]Holding, error)
	PermissionSets(ctx context.Context) ([]Holding, error)
	// Groups are those who approve.
	Groups(ctx context.Context) ([]Group, error)
	// Memberships tells what a user has, and which apps it grants.
	Memberships(ctx context.Context, user string) (Memberships, error)
	// Logs lists lines of the logs of all requests.
	Logs(ctx context.Context, f LogFilter) (Listing[*host.UserProvisioningLog], error)
	// RequestForAccount makes a request for the user that an account is linked to.
	RequestForAccount(ctx context.Context, account string, op host.Operation) (*host.UserProvisioningRequest, error)
	// System tells of the daemon that is asked.
	System(ctx context.Context) (System, error)
}

// Holding is a profile or a permission set.
type Holding struct {
	Name string `json:"name"`
	// Users counts the active users who have it.
	Users int64 `json:"users"`
	// Apps are those that it grants.
	Apps []string `json:"apps"`
}

// Group is a group of people who approve.
type Group struct {
	Name string `json:"name"`
	// Members are usernames.
	Members []string `json:"members"`
	// Apps are those whose requests it approves.
	Apps []string `json:"apps"`
}

// Memberships are what a user has that apps come of.
type Memberships struct {
	UserId         string   `json:"userId"`
	Profile        string   `json:"profile,omitempty"`
	PermissionSets []string `json:"permissionSets"`
	// Groups are those that the user approves for.
	Groups []string `json:"groups"`
	Apps   []Grant  `json:"apps"`
}

// Grant is an app that a user has, and why.
type Grant struct {
	App string `json:"app"`
	// By are assignment, profile, permission set, scope.
	By []string `json:"by"`
	// Account is the account that is linked, by name.
	Account string `json:"account,omitempty"`
}

// System is the daemon that is asked, and what it runs on.
type System struct {
	Version   string    `json:"version"`
	Go        string    `json:"go"`
	Host      string    `json:"host" doc:"Name of the machine."`
	StartedAt time.Time `json:"startedAt"`
	Now       time.Time `json:"now"`
	Database  string    `json:"database" doc:"sqlite or postgres"`
	Schema    int       `json:"schema" doc:"Version of the database's schema."`
	// Queue counts the jobs that wait, by kind.
	Queue  map[string]int64 `json:"queue"`
	Config string           `json:"config" doc:"Digest of the configuration that runs."`
	File   string           `json:"file,omitempty" doc:"The file that it is read from."`
	Memory uint64           `json:"memoryBytes" doc:"What the process has of the operating system."`
}

func objects(a huma.API, s ObjectService) {
	type none struct{}
	huma.Get(a, "/api/v1/apps/{app}", func(ctx context.Context, in *struct {
		App string `path:"app"`
	}) (*body[App], error) {
		return answer(s.App(ctx, in.App))
	})
	huma.Get(a, "/api/v1/credentials/{name}", func(ctx context.Context, in *ByName) (*body[Credential], error) {
		return answer(s.Credential(ctx, in.Name))
	})
	huma.Get(a, "/api/v1/plugins/{name}", func(ctx context.Context, in *ByName) (*body[Plugin], error) { return answer(s.Plugin(ctx, in.Name)) })
	huma.Get(a, "/api/v1/notices/{id}", func(ctx context.Context, in *struct {
		ID string `path:"id"`
	}) (*body[Notice], error) {
		return answer(s.Notice(ctx, in.ID))
	})
	huma.Get(a, "/api/v1/profiles", func(ctx context.Context, _ *none) (*body[[]Holding], error) { return listed(s.Profiles(ctx)) })
	huma.Get(a, "/api/v1/permission-sets", func(ctx context.Context, _ *none) (*body[[]Holding], error) { return listed(s.PermissionSets(ctx)) })
	huma.Get(a, "/api/v1/groups", func(ctx context.Context, _ *none) (*body[[]Group], error) { return listed(s.Groups(ctx)) })
	huma.Get(a, "/api/v1/users/{user}/memberships", func(ctx context.Context, in *struct {
		User string `path:"user" doc:"Id or username"`
	}) (*body[Memberships], error) {
		return answer(s.Memberships(ctx, in.User))
	})
	huma.Get(a, "/api/v1/system", func(ctx context.Context, _ *none) (*body[System], error) { return answer(s.System(ctx)) })
}

// logs are the routes of logs.
func logs(a huma.API, s ObjectService) {
	huma.Get(a, "/api/v1/logs", func(ctx context.Context, in *struct {
		Paged
		Request string `query:"request" doc:"Id, name (UPR-000042) or number"`
		User    string `query:"user" doc:"Id or username"`
		Actor   string `query:"actor"`
	}) (*page[[]Log], error) {
		l, err := s.Logs(ctx, LogFilter{Request: in.Request, User: in.User, Actor: in.Actor, Paging: in.paging()})
		shown := make([]Log, len(l.Rows))
		for i, line := range l.Rows {
			shown[i] = Log{line.Name(), line}
		}
		return pageOf(&in.Paged, shown, l.Next, nil, err)
	})
}

// runs are the routes of reconciliations: requests that are for all accounts of
// an app.
func runs(a huma.API, s Service) {
	huma.Get(a, "/api/v1/runs", func(ctx context.Context, in *struct {
		Paged
		App   string   `query:"app"`
		State []string `query:"state" enum:"New,Requested,Completed,Failed,Collecting,Collected,Analyzing,Analyzed,Committing,Retried,Manually Completed,Cancelled" doc:"In any of these states"`
	}) (*page[[]*Request], error) {
		f := RequestFilter{App: in.App, Operation: host.Reconcile, Paging: in.paging()}
		for _, state := range in.State {
			f.State = append(f.State, host.RequestState(state))
		}
		return in.requests(ctx, s, f)
	})
	huma.Get(a, "/api/v1/runs/{id}", func(ctx context.Context, in *struct {
		ID string `path:"id" doc:"Id, name (UPR-000042) or number"`
	}) (*body[*Request], error) {
		r, lines, err := s.Request(ctx, in.ID)
		if err == nil && r.Operation != host.Reconcile {
			err = host.Errorf(host.NotFound, "%s is no reconciliation", r.Name())
		}
		return withLog(ctx, s, r, lines, err)
	})
}
