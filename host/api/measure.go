package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// MeasureService is what the API needs to show what the daemon that is asked
// has measured of itself. What all daemons measure is for who scrapes them.
type MeasureService interface {
	// Trends are measures of the last hour.
	Trends(ctx context.Context) ([]Trend, error)
	ConnectorUse(ctx context.Context, connector string) (ConnectorUse, error)
	// ConnectorLog lists the newest lines of the log about a connector, the newest
	// first; what may name people is left out of them.
	ConnectorLog(ctx context.Context, connector string, limit int) ([]map[string]any, error)
}

// Trend is how one measure went.
type Trend struct {
	Name string `json:"name" enum:"queue,jobs,calls,failures,callouts,memory"`
	What string `json:"what" doc:"What is measured, for people."`
	// PerSecond: the values are a rate.
	PerSecond bool    `json:"perSecond,omitempty"`
	Bytes     bool    `json:"bytes,omitempty"`
	Points    []Point `json:"points"`
}

// Point is one value of a [Trend].
type Point struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// ConnectorUse is what the calls of a connector came to since the daemon began.
type ConnectorUse struct {
	Since time.Time `json:"since"`
	// Instances are kept ready for calls: Idle of them are free, and Waiting calls
	// wait for one.
	Instances  int            `json:"instances"`
	Idle       int            `json:"idle"`
	Waiting    int            `json:"waiting"`
	Operations []OperationUse `json:"operations"`
}

// OperationUse is what the calls of one operation came to.
type OperationUse struct {
	Operation string `json:"operation"`
	Calls     int64  `json:"calls"`
	Failed    int64  `json:"failed"`
	// Fuel is the work of all of them, in instructions; Took their time, HTTP
	// included.
	Fuel int64         `json:"fuel"`
	Took time.Duration `json:"tookNanoseconds"`
}

func measures(a huma.API, s MeasureService) {
	huma.Get(a, "/api/v1/trends", func(ctx context.Context, _ *struct{}) (*body[[]Trend], error) { return listed(s.Trends(ctx)) })
	huma.Get(a, "/api/v1/plugins/{name}/use", func(ctx context.Context, in *ByName) (*body[ConnectorUse], error) {
		return answer(s.ConnectorUse(ctx, in.Name))
	})
	huma.Get(a, "/api/v1/plugins/{name}/log", func(ctx context.Context, in *struct {
		ByName
		Page
	}) (*body[[]map[string]any], error) {
		return listed(s.ConnectorLog(ctx, in.Name, in.Limit))
	})
}
