package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
)

// Mapping is how an app's attributes are made of a user.
type Mapping struct {
	App string `json:"App"`
	// User is whom the values are of; empty for none.
	User  string        `json:"User,omitempty"`
	Rules []MappingRule `json:"Rules"`
	// Unmapped are attributes that the connector needs and no rule makes.
	Unmapped []string `json:"Unmapped,omitempty"`
}

// MappingRule is one rule, and what it makes of the user.
type MappingRule struct {
	Path       string `json:"Path"`
	Expression string `json:"Expression"`
	// OnCreate: for new accounts only.
	OnCreate bool `json:"OnCreate,omitempty"`
	// EmptyLeaves: where nothing is made, what the target has stays.
	EmptyLeaves bool `json:"EmptyLeaves,omitempty"`
	// Unique: the value is the first name of those that may be chosen.
	Unique bool `json:"Unique,omitempty"`
	// Secret: the value is made anew for each account, and shown nowhere.
	Secret bool `json:"Secret,omitempty"`
	Value  any  `json:"Value,omitempty"`
	// Problem is why no value could be made.
	Problem string `json:"Problem,omitempty"`
}

// MappingTrial is a trial of a mapping. Nothing is stored or sent.
type MappingTrial struct {
	User  string   `json:"user,omitempty" doc:"Id or username of whom the values are made; without one, only the rules are told."`
	Rules []string `json:"rules,omitempty" doc:"Rules to try, in place of the app's for the same attributes."`
}

// MappingService is what the API needs to show and try mappings.
type MappingService interface {
	Mapping(ctx context.Context, app string, t MappingTrial) (*Mapping, error)
}

func mappings(a huma.API, s MappingService) {
	huma.Get(a, "/api/v1/apps/{app}/mapping", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		User string `query:"user" doc:"Id or username of whom the values are made"`
	}) (*body[*Mapping], error) {
		return answer(s.Mapping(ctx, in.App, MappingTrial{User: in.User}))
	})
	huma.Post(a, "/api/v1/apps/{app}/mapping", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		Body MappingTrial
	}) (*body[*Mapping], error) {
		return answer(s.Mapping(ctx, in.App, in.Body))
	})
}
