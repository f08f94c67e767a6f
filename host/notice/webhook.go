package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// Dial connects; the host's policy says where to.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Webhook sends each event as a POST of JSON that is signed as the Standard
// Webhooks say (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and
// body.
type Webhook struct {
	URL string
	// Secret signs: whsec_ and base64, or any other text as it is. Of one that is
	// being changed, both sign.
	Secret *secret.Source
	Client *http.Client
}

// NewWebhook makes a webhook that connects with dial, follows no redirect and
// uses no proxy of the environment.
func NewWebhook(url string, s *secret.Source, dial Dial) *Webhook {
	return &Webhook{URL: url, Secret: s, Client: &http.Client{
		Transport:     &http.Transport{DialContext: dial, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 20 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConns: 2},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       sendTime,
	}}
}

// payload is the body: type and timestamp as the Standard Webhooks have them.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

type data struct {
	Id         string          `json:"id"`
	Kind       host.NoticeKind `json:"kind"`
	Subject    string          `json:"subject"`
	Text       string          `json:"text"`
	Waiting    int64           `json:"waiting,omitempty"`
	RaisedAt   time.Time       `json:"raisedAt"`
	ResolvedAt *time.Time      `json:"resolvedAt,omitempty"`
	Link       string          `json:"link,omitempty"`
}

// Send implements [Sender]; m has one event.
func (w *Webhook) Send(ctx context.Context, m Message) error {
	e := m.Events[0]
	n := e.Notice
	kind := "notice." + string(e.Event)
	at := n.FirstRaised
	if e.Event == host.NoticeResolved && n.ResolvedDate != nil {
		at = *n.ResolvedDate
	}
	if n.Kind == host.NoticeTest {
		kind = "notice.test"
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // a person may read it
	if err := enc.Encode(payload{kind, at, data{n.Id, n.Kind, n.Subject, n.Text, n.Waiting, n.FirstRaised, n.ResolvedDate, m.Link}}); err != nil {
		return host.Errorf(host.Internal, "the notice can't be written as JSON: %w", err)
	}
	body := bytes.TrimSpace(text.Bytes())
	signature, err := w.sign(ctx, m, body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return host.Errorf(host.InvalidInput, "the webhook's URL is none")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "provost")
	r.Header.Set(standardwebhooks.HeaderWebhookID, m.Id)
	r.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(m.At.Unix(), 10))
	r.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	answer, err := w.Client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // its URL may have a token in it
			err = u.Err
		}
		return host.Errorf(host.Unavailable, "the webhook does not answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10)
	switch {
	case answer.StatusCode >= 200 && answer.StatusCode < 300:
		return nil
	case answer.StatusCode >= 300 && answer.StatusCode < 400:
		return host.Errorf(host.Unavailable, "the webhook answers %d, to somewhere else; redirects are not followed: write the URL that it leads to", answer.StatusCode)
	}
	failed := host.Errorf(host.Unavailable, "the webhook answers %d", answer.StatusCode)
	failed.HTTPStatus = answer.StatusCode
	if seconds, err := strconv.ParseInt(strings.TrimSpace(answer.Header.Get("Retry-After")), 10, 32); err == nil && seconds > 0 {
		failed.RetryAfter = time.Duration(seconds) * time.Second
	}
	return failed
}

// sign signs with the secret, and with the one before where there is one.
func (w *Webhook) sign(ctx context.Context, m Message, body []byte) (string, error) {
	values, err := w.Secret.Values(ctx)
	if err != nil {
		return "", err
	}
	var all []string
	for _, v := range values {
		text := v.Reveal()
		hook, err := standardwebhooks.NewWebhookRaw([]byte(text))
		if strings.HasPrefix(text, "whsec_") {
			if hook, err = standardwebhooks.NewWebhook(text); err != nil {
				return "", host.Errorf(host.InvalidInput, "the webhook's secret begins with whsec_, and what follows is no base64")
			}
		}
		if err != nil {
			return "", host.Errorf(host.InvalidInput, "the webhook's secret can't be used")
		}
		signature, err := hook.Sign(m.Id, m.At, body)
		if err != nil {
			return "", host.Errorf(host.Internal, "the notice can't be signed: %w", err)
		}
		all = append(all, signature)
	}
	return strings.Join(all, " "), nil
}

// String names it without what may be secret in it.
func (w *Webhook) String() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return "webhook"
	}
	return fmt.Sprintf("webhook at %s", u.Host)
}
