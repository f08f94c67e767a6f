package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// RulesTrial are other rules of an app, to see what they would do. What is left
// out is as the app has it.
type RulesTrial struct {
	Mapping []string `json:"mapping,omitempty" doc:"The whole mapping"`
	// Rules stand in for those of the same attributes.
	Rules          []string  `json:"rules,omitempty" doc:"Rules in place of the app's for the same attributes"`
	Link           []string  `json:"link,omitempty" doc:"All link rules"`
	Scope          *string   `json:"scope,omitempty"`
	Profiles       *[]string `json:"profiles,omitempty"`
	PermissionSets *[]string `json:"permissionSets,omitempty"`
	Examples       int       `json:"examples,omitempty" minimum:"0" maximum:"10000" default:"100" doc:"How many users and accounts are named"`
}

// EffectService is what the API needs to show what other rules would do.
type EffectService interface {
	Effect(ctx context.Context, app string, t RulesTrial) (*host.Effect, error)
}

func effects(a huma.API, s EffectService) {
	huma.Post(a, "/api/v1/apps/{app}/preview", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		Body RulesTrial
	}) (*body[*host.Effect], error) {
		return answer(s.Effect(ctx, in.App, in.Body))
	})
}
