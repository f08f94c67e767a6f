package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/provosthq/provost/host"
)

// ActorHeader says who does what is asked: a username, or, in the words of
// [host.Administrator], who runs this host. It is percent-encoded where it has
// other letters than ASCII's. The API listens to this machine alone, and
// believes it.
const ActorHeader = "Provost-Actor"

// longestActor is the most bytes of an actor.
const longestActor = 256

// withActor hands the actor of a request on in its context. Without one it is
// whoever may use the API.
func withActor(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor, err := url.PathUnescape(r.Header.Get(ActorHeader))
		actor = strings.TrimSpace(actor)
		if err != nil || len(actor) > longestActor || actor == host.Ourselves || strings.ContainsFunc(actor, unicode.IsControl) {
			p := problem(host.Errorf(host.InvalidInput, "the header %s is no username", ActorHeader))
			w.Header().Set("Content-Type", p.ContentType(""))
			w.WriteHeader(p.Status)
			_ = json.NewEncoder(w).Encode(p) // who does not read it has gone
			return
		}
		if actor == "" {
			actor = host.Administrator("api")
		}
		next.ServeHTTP(w, r.WithContext(host.WithActor(r.Context(), actor)))
	})
}
