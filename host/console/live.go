package console

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/a-h/templ"
)

// seen is a digest of what a part of a page is made of.
func seen(what ...any) string {
	text, err := json.Marshal(what)
	if err != nil { // then it is shown anew each time
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// live answers with a part of a page that stays open, unless it shows what is so
// already: then nothing is put in its place, and the focus and what is marked
// stay.
func (c *console) live(w http.ResponseWriter, r *http.Request, now string, content templ.Component) error {
	if now != "" && r.URL.Query().Get("seen") == now {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return c.part(w, r, content)
}

// liveEvery is how often what is live asks whether something has changed.
const liveEvery = "every 3s"

// seenValue is what a live part sends along.
func seenValue(digest string) string { return `{"seen":"` + digest + `"}` }
