package notice_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/notice"
	"github.com/provosthq/provost/host/secret"
)

func source(t *testing.T, value string, previous ...string) *secret.Source {
	t.Helper()
	r := secret.Ref{Value: value}
	for _, p := range previous {
		r.Previous = &secret.Ref{Value: p}
	}
	s, err := secret.Open(r, secret.Options{})
	require.NoError(t, err)
	return s
}

func message() notice.Message {
	at := time.Now().UTC()
	return notice.Message{Id: "0199-1", At: at, Link: "https://provost.example.com/console", Events: []notice.Event{{Event: host.NoticeRaised,
		Notice: host.Notice{Id: "0199-0", Kind: host.NoticeTarget, Subject: "Acme", Text: "Acme is left alone", Waiting: 3, FirstRaised: at}}}}
}

// received is one request that a webhook's receiver had.
type received struct {
	header http.Header
	body   []byte
}

func receiver(t *testing.T, answer func(w http.ResponseWriter)) (url string, got func() []received) {
	t.Helper()
	var mu sync.Mutex
	var list []received
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		list = append(list, received{r.Header, b})
		mu.Unlock()
		answer(w)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []received {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

func TestAWebhookIsSignedSoThatItsReceiverCanTell(t *testing.T) {
	url, got := receiver(t, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) })
	key := []byte("0123456789abcdef0123456789abcdef")
	whsec := "whsec_" + base64.StdEncoding.EncodeToString(key)
	hook := notice.NewWebhook(url+"/hook?token=canary", source(t, whsec, "the one before"), (&net.Dialer{}).DialContext)
	defer hook.Client.CloseIdleConnections()
	require.NoError(t, hook.Send(t.Context(), message()))
	require.Len(t, got(), 1)
	r := got()[0]

	for _, one := range []func() (*standardwebhooks.Webhook, error){
		func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhook(whsec) },
		func() (*standardwebhooks.Webhook, error) {
			return standardwebhooks.NewWebhookRaw([]byte("the one before"))
		},
	} {
		verifier, err := one()
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(r.body, r.header))
		require.Error(t, verifier.Verify(append([]byte(" "), r.body...), r.header))
	}
	// The same by the words of the specification, without its library.
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", r.header.Get("webhook-id"), r.header.Get("webhook-timestamp"), r.body)
	require.Contains(t, r.header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	require.Equal(t, "0199-1", r.header.Get("webhook-id"))

	var body map[string]any
	require.NoError(t, json.Unmarshal(r.body, &body))
	require.Equal(t, "notice.raised", body["type"])
	about := body["data"].(map[string]any)
	require.Equal(t, "target", about["kind"])
	require.Equal(t, "Acme", about["subject"])
	require.EqualValues(t, 3, about["waiting"])
}

func TestAWebhookThatDoesNotTakeItFailsWithoutTellingWhatIsSecret(t *testing.T) {
	for name, one := range map[string]struct {
		answer func(w http.ResponseWriter)
		says   string
		after  time.Duration
	}{
		"an error": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, "answers 500", 0},
		"a limit": {func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "answers 429", 2 * time.Minute},
		"a redirect": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusFound)
		}, "redirects are not followed", 0},
		"nothing": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "does not answer", 0},
	} {
		t.Run(name, func(t *testing.T) {
			url, got := receiver(t, one.answer)
			hook := notice.NewWebhook(url+"/hook/canary?token=canary", source(t, "s3cret"), (&net.Dialer{}).DialContext)
			defer hook.Client.CloseIdleConnections()
			err := hook.Send(t.Context(), message())
			var e *host.Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, one.says)
			require.NotContains(t, err.Error(), "canary")
			require.NotContains(t, err.Error(), "s3cret")
			require.Equal(t, one.after, e.RetryAfter)
			require.NotEmpty(t, got())
		})
	}
	hook := notice.NewWebhook("http://127.0.0.1:1/", source(t, "whsec_%%%"), (&net.Dialer{}).DialContext)
	require.ErrorContains(t, hook.Send(t.Context(), message()), "no base64")
}
