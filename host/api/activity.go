package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Activity counts the requests, other than runs, of one app that ended in one
// hour.
type Activity struct {
	App  string    `json:"app"`
	Hour time.Time `json:"hour" doc:"Its beginning, in UTC."`
	// Completed are those that a person completed, too; Retried those that were
	// completed at a later attempt.
	Completed int64 `json:"completed"`
	Retried   int64 `json:"retried"`
	Failed    int64 `json:"failed"`
}

// ActivityService is what the API needs to tell what has happened.
type ActivityService interface {
	// Activity is what ended since a time, by app and hour, in no order.
	Activity(ctx context.Context, since time.Time) ([]Activity, error)
}

func activity(a huma.API, s ActivityService) {
	huma.Get(a, "/api/v1/activity", func(ctx context.Context, in *struct {
		Since time.Time `query:"since" doc:"Ended then or after; without it the last 24 hours"`
	}) (*body[[]Activity], error) {
		since := in.Since
		if since.IsZero() {
			since = time.Now().Add(-24 * time.Hour)
		}
		return listed(s.Activity(ctx, since))
	})
}
