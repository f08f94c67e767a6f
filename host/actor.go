package host

import (
	"context"
	"strings"
)

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

const administrator = "administrator ("

// Administrator is the actor that somebody is who runs this host: the name is
// that of the machine's, or of the way in.
func Administrator(name string) string { return administrator + name + ")" }

// IsAdministrator tells whether an actor is one of [Administrator].
func IsAdministrator(actor string) bool {
	return strings.HasPrefix(actor, administrator) && strings.HasSuffix(actor, ")")
}

// Outsider is the actor that somebody is who is no user and no administrator: a
// token, or a person who is known elsewhere only.
func Outsider(kind, name string) string { return kind + " (" + name + ")" }

// IsOutsider tells whether an actor is one of [Outsider].
func IsOutsider(actor string) bool {
	return strings.HasSuffix(actor, ")") && (strings.HasPrefix(actor, "token (") || strings.HasPrefix(actor, "person ("))
}

type bodiesKey struct{}

// WithBodies asks that what is sent and what comes back be kept in the trace,
// without secrets, each of secrets masked wherever it stands.
func WithBodies(ctx context.Context, secrets ...string) context.Context {
	return context.WithValue(ctx, bodiesKey{}, secrets)
}

// BodiesWanted tells whether bodies are to be kept, and what is to be masked in
// them.
func BodiesWanted(ctx context.Context) (secrets []string, wanted bool) {
	secrets, wanted = ctx.Value(bodiesKey{}).([]string)
	return secrets, wanted
}
