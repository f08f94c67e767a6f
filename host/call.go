package host

import "context"

type callKey struct{}

// WithCall says by which call of the API, or of the console, something is done.
func WithCall(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, callKey{}, name)
}

// CallOf is the call that something is done by; "" for none.
func CallOf(ctx context.Context) string {
	name, _ := ctx.Value(callKey{}).(string)
	return name
}
