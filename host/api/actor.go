package api

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// ActorHeader says who does what is asked: a username, or, in the words of
// [host.Administrator], who runs this host. It is percent-encoded where it has
// other letters than ASCII's. It is believed of who owns this machine's data or
// asks before anybody can sign in; of others it must not be there.
const ActorHeader = "Provost-Actor"

// longestActor is the most bytes of an actor.
const longestActor = 256

// withActor hands the actor of a request on in its context.
func withActor(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get(ActorHeader)
		if header == "" {
			next.ServeHTTP(w, r)
			return
		}
		if s := access.SubjectOf(r.Context()); s == nil || s.Kind != access.Owner && s.Kind != access.Open {
			refuse(w, r, host.Errorf(host.PermissionDenied, "the header %s is for who asks on the machine itself: you are known by what you signed in with", ActorHeader))
			return
		}
		actor, err := url.PathUnescape(header)
		actor = strings.TrimSpace(actor)
		if err != nil || len(actor) > longestActor || actor == "" || actor == host.Ourselves || strings.ContainsFunc(actor, unicode.IsControl) {
			refuse(w, r, host.Errorf(host.InvalidInput, "the header %s is no username", ActorHeader))
			return
		}
		next.ServeHTTP(w, r.WithContext(host.WithActor(r.Context(), actor)))
	})
}
