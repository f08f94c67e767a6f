package host

import "context"

type actorKey struct{}

// Ourselves is the actor of what nobody asked for.
const Ourselves = "provost"

// WithActor says who does what is done with ctx.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf is who does what is done with ctx; [Ourselves] where nobody said.
func ActorOf(ctx context.Context) string {
	if actor, ok := ctx.Value(actorKey{}).(string); ok {
		return actor
	}
	return Ourselves
}
