package main

import (
	"context"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/api"
	"github.com/provosthq/provost/host/store"
)

// onceUnderWay is how long a call may take before its end is taken for unknown.
const onceUnderWay = 10 * time.Minute

func (s service) BeginOnce(ctx context.Context, o api.Once) (*api.Told, error) {
	now := time.Now()
	var there *store.OnceCall
	err := s.store.Update(ctx, func(t *store.Tx) (err error) {
		there, err = t.BeginOnce(ctx, &store.OnceCall{Key: o.Key, Body: o.Body, CreatedDate: now})
		return err
	})
	switch {
	case err != nil || there == nil:
		return nil, err
	case there.Body != o.Body:
		return nil, &host.Error{Code: host.InvalidInput, Field: api.KeyHeader, Message: "was used for another body already; take a new key for what is new"}
	case there.Status == 0 && now.Sub(there.CreatedDate) < onceUnderWay:
		return nil, host.Errorf(host.Conflict, "the same call is under way; ask again in a moment")
	case there.Status == 0:
		return nil, host.Errorf(host.Conflict, "the same call was cut off, and nobody knows whether it was done: look, and take a new key if it was not")
	}
	return &api.Told{Status: there.Status, ContentType: there.ContentType, Body: there.Answer, Kept: there.Kept}, nil
}

func (s service) EndOnce(ctx context.Context, o api.Once, told *api.Told) error {
	return s.store.Update(ctx, func(t *store.Tx) error {
		if told == nil {
			return t.ForgetOnce(ctx, o.Key)
		}
		return t.EndOnce(ctx, &store.OnceCall{Key: o.Key, Status: told.Status, ContentType: told.ContentType, Answer: told.Body, Kept: told.Kept})
	})
}
