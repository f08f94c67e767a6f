package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// RetentionService is what the API needs to prune what has ended, and to erase
// people.
type RetentionService interface {
	// Prune removes what has ended longer ago than the configuration keeps it,
	// and counts the rows of each table. With dryRun it only counts.
	Prune(ctx context.Context, dryRun bool) (map[string]int64, error)
	// EraseUser removes all that is known of a person. With force it cancels what
	// has not begun, and forgets accounts that are still active.
	EraseUser(ctx context.Context, idOrName string, force bool) (*Erasure, error)
	Erasures(ctx context.Context) ([]*Erasure, error)
}

// Erasure says that somebody was erased: when, by whom, and how much there was.
// It names nobody.
type Erasure struct {
	UserId      string    `json:"UserId" doc:"Our id, which is nobody's any more"`
	Actor       string    `json:"Actor"`
	CreatedDate time.Time `json:"CreatedDate"`
	Requests    int64     `json:"Requests"`
	Accounts    int64     `json:"Accounts"`
	// Warnings say what is left elsewhere, and are not kept.
	Warnings []string `json:"Warnings,omitempty"`
}

func retention(a huma.API, s Service) {
	huma.Post(a, "/api/v1/retention/run", func(ctx context.Context, in *struct {
		DryRun bool `query:"dry_run" doc:"Only count"`
	}) (*body[map[string]int64], error) {
		return answer(s.Prune(ctx, in.DryRun))
	})
	huma.Post(a, "/api/v1/users/{user}/erase", func(ctx context.Context, in *struct {
		User  string `path:"user" doc:"Id or username"`
		Force bool   `query:"force" doc:"Cancel what has not begun, and forget active accounts"`
	}) (*body[*Erasure], error) {
		return answer(s.EraseUser(ctx, in.User, in.Force))
	})
	huma.Get(a, "/api/v1/erasures", func(ctx context.Context, _ *struct{}) (*body[[]*Erasure], error) { return listed(s.Erasures(ctx)) })
}
