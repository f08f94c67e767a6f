package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatIsSentAfterASessionHasEndedIsToldNotToBeDone(t *testing.T) {
	c := &console{Options: Options{Now: time.Now}}
	for name, one := range map[string]struct{ method, target, from, next string }{
		"a page leads back to itself":     {"GET", "/console/runs?state=open", "", "/console/runs?state=open"},
		"a form leads back to its page":   {"POST", "/console/apps/acme/schedule", "http://provost.test/console/apps/acme/schedule", "/console/apps/acme/schedule"},
		"one of elsewhere leads home":     {"POST", "/console/apps/acme/schedule", "http://evil.test/console/apps", "/console"},
		"one of no page leads home":       {"POST", "/console/apps/acme/schedule", "", "/console"},
		"one of a page of ours elsewhere": {"POST", "/console/apps/acme/schedule", "http://provost.test/api/docs", "/console"},
		"a page of an action leads above": {"POST", "/console/credentials/Mine/rotate", "http://provost.test/console/credentials/Mine/rotate", "/console/credentials/Mine"},
		"to where its form is open":       {"POST", "/console/credentials/A%2FB/change?change", "http://provost.test/console/credentials/A%2FB/change?change", "/console/credentials/A%2FB?change"},
		"in the wizard, too":              {"POST", "/console/apps/acme/wizard/credential/new?new=jwt", "http://provost.test/console/apps/acme/wizard/credential/new?new=jwt", "/console/apps/acme/wizard/credential?new=jwt"},
		"a step is a page of its own":     {"POST", "/console/apps/acme/wizard/app", "http://provost.test/console/apps/acme/wizard/app", "/console/apps/acme/wizard/app"},
		"an action is nobody's page":      {"POST", "/console/people/import", "http://provost.test/console/people/import", "/console/people"},
		"one without a page leads home":   {"POST", "/console/sign-out", "http://provost.test/console/nowhere/at-all", "/console"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(one.method, "http://provost.test"+one.target, nil)
			r.Header.Set("Referer", one.from)
			w := httptest.NewRecorder()
			c.toSignIn(w, r)
			require.Equal(t, http.StatusSeeOther, w.Code)
			to, err := url.Parse(w.Header().Get("Location"))
			require.NoError(t, err)
			require.Equal(t, one.next, to.Query().Get("next"))
			sent := one.method == http.MethodPost
			require.Equal(t, sent, to.Query().Get("sent") == "no", "who signs in is told")
			require.Equal(t, sent, strings.Contains(w.Header().Get("Set-Cookie"), flashCookie), "and the page after it tells, too")
			require.Equal(t, sent, strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=900;"), "though to sign in takes a while")
		})
	}
	t.Run("what is live stays where it is", func(t *testing.T) {
		r := httptest.NewRequest("GET", "http://provost.test/console/map", nil)
		r.Header.Set("HX-Request", "true")
		r.Header.Set("HX-Current-URL", "http://provost.test/console/apps/acme/wizard/attributes")
		w := httptest.NewRecorder()
		c.toSignIn(w, r)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Empty(t, w.Header().Get("HX-Redirect"), "what was typed is not lost")
		require.Contains(t, w.Body.String(), "What you have typed is still here")
		require.Contains(t, w.Body.String(), url.QueryEscape("/console/apps/acme/wizard/attributes"))
	})
}
