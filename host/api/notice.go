package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// Notice is something that a person must do, or know.
type Notice struct {
	// Id is empty for what no daemon has stored yet, or stores not at all.
	Id      string          `json:"id,omitempty"`
	Kind    host.NoticeKind `json:"kind" doc:"connector, threshold, credential, target, approval, review or configuration"`
	Subject string          `json:"subject"`
	Text    string          `json:"text"`
	Waiting int64           `json:"waiting,omitempty"`
	Since   time.Time       `json:"since,omitzero"`
	// Resolved is when it was over.
	Resolved *time.Time `json:"resolved,omitempty"`
	// Deliveries are how people were told, or will be.
	Deliveries []*host.NoticeDelivery `json:"deliveries,omitempty"`
}

// NoticeService is what the API needs to tell people what they must do.
type NoticeService interface {
	// Notices lists what is so now; with since (not zero) also what was over then
	// or later.
	Notices(ctx context.Context, since time.Time) ([]Notice, error)
	// TestChannel sends a test over a channel, at once and once.
	TestChannel(ctx context.Context, name string) error
}

func notices(a huma.API, s NoticeService) {
	huma.Get(a, "/api/v1/notices", func(ctx context.Context, in *struct {
		Since time.Time `query:"since" doc:"Also those that were over at that time or later"`
	}) (*body[[]Notice], error) {
		return listed(s.Notices(ctx, in.Since))
	})
	huma.Post(a, "/api/v1/channels/{name}/test", func(ctx context.Context, in *struct {
		Name string `path:"name"`
	}) (*struct{}, error) {
		if err := s.TestChannel(ctx, in.Name); err != nil {
			return nil, problem(err)
		}
		return nil, nil
	})
}
