package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Plugin is a connector that the host has loaded, or failed to.
type Plugin struct {
	Name     string    `json:"name"`
	State    string    `json:"state" doc:"serving, loading, quarantined or failed"`
	Reason   string    `json:"reason,omitempty" doc:"Why it does not serve."`
	Version  string    `json:"version"`
	Vendor   string    `json:"vendor"`
	Source   string    `json:"source"`
	Digest   string    `json:"digest"`
	Signer   string    `json:"signer,omitempty"`
	Size     int64     `json:"size"`
	LoadedAt time.Time `json:"loadedAt"`
	Apps     []string  `json:"apps"`
	// LastError is why the newest build was refused; the one of before goes on.
	LastError string `json:"lastError,omitempty"`
	// Stale is why what was fetched before is used: the source could not be asked
	// when it was last looked at.
	Stale string `json:"stale,omitempty"`
	// Unconnected is why it did not connect (health_check) although it serves: at a
	// start there was no other.
	Unconnected string `json:"unconnected,omitempty"`
	// Failing is the share of the last Calls that failed.
	Failing float64 `json:"failing"`
	Calls   int     `json:"calls"`
	// Granted is what it may do, Wants what it asks for and may not.
	Granted host.Reach `json:"granted"`
	Wants   host.Reach `json:"wants,omitzero"`
	// Next is a build that has a share of the requests.
	Next *NextBuild `json:"next,omitempty"`
	// Waiting is a build that waits for a grant.
	Waiting *WaitingBuild `json:"waiting,omitempty"`
}

// NextBuild is a build that takes over bit by bit.
type NextBuild struct {
	Version string    `json:"version"`
	Digest  string    `json:"digest"`
	Share   float64   `json:"share"`
	Since   time.Time `json:"since"`
	Failing float64   `json:"failing"`
	Calls   int       `json:"calls"`
}

// WaitingBuild is a build that wants more than is granted.
type WaitingBuild struct {
	Version string     `json:"version"`
	Digest  string     `json:"digest"`
	Wants   host.Reach `json:"wants"`
}

// Build is a build of a connector that has served.
type Build struct {
	*host.ConnectorVersion
	// Serving: calls get it. Kept: it can be had again.
	Serving bool `json:"Serving"`
	Kept    bool `json:"Kept"`
	// TakenOut is why it was.
	TakenOut string `json:"TakenOut,omitempty"`
}

// BuildChange is what another configuration, or another file, means for a
// connector.
type BuildChange struct {
	Connector string     `json:"connector"`
	From      string     `json:"from,omitempty" doc:"Version and digest that serve."`
	To        string     `json:"to,omitempty"`
	Effect    string     `json:"effect" doc:"takes over, takes over by 5%, waits for a grant, goes, refused"`
	Wants     host.Reach `json:"wants,omitzero"`
	Error     string     `json:"error,omitempty"`
}

// ConfigDiff is what a reload would do.
type ConfigDiff struct {
	// Keys are those whose values differ; an entry that comes or goes has + or -
	// before it.
	Keys   []string      `json:"keys"`
	Builds []BuildChange `json:"builds"`
	// Problems are why nothing would be taken.
	Problems []string `json:"problems,omitempty"`
}

// Reloaded is what a reload did.
type Reloaded struct {
	Config string `json:"config" doc:"Digest of the configuration that runs."`
	// Refused are connectors whose new build was left out, with why.
	Refused map[string]string `json:"refused,omitempty"`
}

// ConnectorService is what the API needs for connectors and the configuration.
// An error Unsupported of Reload and Diff says that no daemon serves.
type ConnectorService interface {
	Plugins(ctx context.Context) ([]Plugin, error)
	Builds(ctx context.Context, connector string) ([]Build, error)
	// RollBack lets an earlier build serve: the one before where digest, or its
	// beginning, is empty.
	RollBack(ctx context.Context, connector, digest string) (Plugin, error)
	// Release lets a build back that was taken out.
	Release(ctx context.Context, connector string) (Plugin, error)
	// Grant lets a connector do what it wants, or only some of it.
	Grant(ctx context.Context, connector string, reach *host.Reach) (Plugin, error)
	Reload(ctx context.Context) (Reloaded, error)
	Diff(ctx context.Context) (ConfigDiff, error)
}

// ByName names a connector in a path.
type ByName struct {
	Name string `path:"name"`
}

func connectors(a huma.API, s Service) {
	type none struct{}
	huma.Get(a, "/api/v1/plugins", func(ctx context.Context, _ *none) (*body[[]Plugin], error) { return listed(s.Plugins(ctx)) })
	huma.Get(a, "/api/v1/plugins/{name}/builds", func(ctx context.Context, in *ByName) (*body[[]Build], error) {
		return listed(s.Builds(ctx, in.Name))
	})
	huma.Post(a, "/api/v1/plugins/{name}/rollback", func(ctx context.Context, in *struct {
		ByName
		Body struct {
			Digest string `json:"digest,omitempty" pattern:"^[0-9a-f]{0,64}$" doc:"Or its beginning; without it the build before."`
		}
	}) (*body[Plugin], error) {
		return answer(s.RollBack(ctx, in.Name, in.Body.Digest))
	})
	huma.Post(a, "/api/v1/plugins/{name}/release", func(ctx context.Context, in *ByName) (*body[Plugin], error) {
		return answer(s.Release(ctx, in.Name))
	})
	huma.Post(a, "/api/v1/plugins/{name}/grant", func(ctx context.Context, in *struct {
		ByName
		Body struct {
			Reach *host.Reach `json:"reach,omitempty" doc:"Without it, all that it wants."`
		}
	}) (*body[Plugin], error) {
		return answer(s.Grant(ctx, in.Name, in.Body.Reach))
	})
	huma.Post(a, "/api/v1/config/reload", func(ctx context.Context, _ *none) (*body[Reloaded], error) { return answer(s.Reload(ctx)) })
	huma.Post(a, "/api/v1/config/diff", func(ctx context.Context, _ *none) (*body[ConfigDiff], error) { return answer(s.Diff(ctx)) })
}
