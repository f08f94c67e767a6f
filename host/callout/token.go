package callout

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/pdk"
)

// tokenSource keeps one access token of a credential and fetches the next
// before it expires, once for all who wait.
type tokenSource struct {
	c      *credential
	flight singleflight.Group
	mu     sync.Mutex
	token  *oauth2.Token
	found  AuthStyle // the style that worked, where it is to be found out
}

// ahead is how long before its end a token is replaced.
const ahead = 30 * time.Second

func (s *tokenSource) current() secret.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		return secret.Value{}
	}
	return secret.New(s.token.AccessToken)
}

// get returns a token that is good for a while.
func (s *tokenSource) get(ctx context.Context) (string, *pdk.Error) {
	s.mu.Lock()
	t := s.token
	s.mu.Unlock()
	if t != nil && (t.Expiry.IsZero() || time.Until(t.Expiry) > ahead) {
		return t.AccessToken, nil
	}
	done := s.flight.DoChan("token", func() (any, error) {
		// Whoever asks first must not take the others down with it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.c.Timeout)
		defer cancel()
		t, err := s.fetch(ctx)
		if err == nil {
			s.mu.Lock()
			s.token = t
			s.mu.Unlock()
		}
		return t, err
	})
	select {
	case got := <-done:
		if got.Err != nil {
			return "", tokenError(s.c.Name, got.Err)
		}
		return got.Val.(*oauth2.Token).AccessToken, nil
	case <-ctx.Done():
		return "", pdk.Errorf(pdk.Unavailable, "signing in %s took too long", s.c.Name)
	}
}

// forget drops a token that the target no longer takes.
func (s *tokenSource) forget(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != nil && s.token.AccessToken == token {
		s.token = nil
	}
}

func (s *tokenSource) fetch(ctx context.Context) (*oauth2.Token, error) {
	style := s.c.OAuth2.AuthStyle
	if style == "" || style == AuthAuto {
		s.mu.Lock()
		style = s.found
		s.mu.Unlock()
	}
	if style != "" {
		return s.fetchWith(ctx, style)
	}
	t, err := s.fetchWith(ctx, AuthHeader)
	style = AuthHeader
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && (refused.Response.StatusCode == http.StatusBadRequest || refused.Response.StatusCode == http.StatusUnauthorized) {
		style = AuthParams
		var again error
		if t, again = s.fetchWith(ctx, AuthParams); again == nil {
			err = nil // else the first says more: the header is what every endpoint must know
		}
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.found = style
	s.mu.Unlock()
	return t, nil
}

func (s *tokenSource) fetchWith(ctx context.Context, style AuthStyle) (*oauth2.Token, error) {
	o := s.c.OAuth2
	config := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: s.c.secret.Reveal(), TokenURL: o.TokenURL,
		Scopes: o.Scopes, AuthStyle: oauth2.AuthStyleInHeader, EndpointParams: url.Values{}}
	if style == AuthParams {
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	for k, v := range o.Params {
		config.EndpointParams.Set(k, v)
	}
	// The same TLS, but no redirect: a token endpoint that moves is a mistake.
	client := &http.Client{Transport: s.c.client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
}

// tokenError says what is wrong without the answer's body, which could repeat
// what was sent.
func tokenError(name string, err error) *pdk.Error {
	if r := refusal(err); r != nil {
		return pdk.Errorf(pdk.PermissionDenied, "the token endpoint of %s: %s", name, r.why)
	}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return pdk.Errorf(pdk.Unavailable, "the token endpoint of %s does not answer: %v", name, reason(err))
	}
	status := refused.Response.StatusCode
	if status >= 500 || status == http.StatusTooManyRequests {
		return pdk.Errorf(pdk.Unavailable, "the token endpoint of %s answered %d", name, status)
	}
	e := pdk.Errorf(pdk.Unauthorized, "the token endpoint of %s answered %d; check its client id and secret", name, status)
	if refused.ErrorCode != "" {
		e.Message = e.Message + " (" + clip(refused.ErrorCode, 60) + ")"
	}
	return e
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
