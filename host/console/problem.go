package console

import (
	"errors"
	"net/http"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
)

// fail answers with what went wrong: a page of its own, or for a part of a page
// a problem beside what was pressed.
func (c *console) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := host.CodeOf(err)
	if code == host.Unauthorized && access.SubjectOf(r.Context()) == nil {
		c.toSignIn(w, r)
		return
	}
	if r.Context().Err() != nil { // who asked has gone
		return
	}
	status := code.HTTPStatus()
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	if status == http.StatusInternalServerError {
		c.Logger.ErrorContext(r.Context(), "a page failed", "path", r.URL.Path, "error", err)
	}
	if w.Header().Get("Allow") != "" {
		status = http.StatusMethodNotAllowed
	}
	f := failure{Status: status, Title: titleOf(status), Text: capital(message(err))}
	if status == http.StatusInternalServerError {
		f.Text = "The host's log has the reason. What you asked for may not have been done; look before you do it again."
	}
	if isPart(r) {
		if err := c.write(w, r.Context(), status, Problem(f.Title+" "+f.Text)); err == nil {
			return
		}
	} else if err := c.showWith(w, r, status, Page{Title: f.Title}, failed(f)); err == nil {
		return
	}
	http.Error(w, f.Title+" "+f.Text, status)
}

// failure is what a page of an error says.
type failure struct {
	Status      int
	Title, Text string
}

func titleOf(status int) string {
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "There is no such page or object."
	case http.StatusForbidden:
		return "You may not do this."
	case http.StatusUnauthorized:
		return "You are not signed in any more."
	case http.StatusConflict:
		return "Something has changed meanwhile."
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		return "This can't be done as it stands."
	case http.StatusRequestEntityTooLarge:
		return "This is too large."
	case http.StatusTooManyRequests:
		return "Too much at once."
	case http.StatusServiceUnavailable:
		return "The host can't do this now."
	default:
		return "Something went wrong here."
	}
}
