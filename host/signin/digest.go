package signin

import (
	"errors"
	"net/http"
	"strings"

	"github.com/icholy/digest"

	"github.com/provosthq/provost/host/secret"
)

// digestAuthorize answers a challenge of HTTP Digest (RFC 7616).
func digestAuthorize(challenge string, r *http.Request, body []byte, username string, password secret.Value, count int) (string, error) {
	c, err := digest.ParseChallenge(challenge)
	if err != nil {
		return "", errors.New("the target's Digest challenge can't be read")
	}
	credentials, err := digest.Digest(c, digest.Options{Method: r.Method, URI: r.URL.RequestURI(), Username: username, Password: password.Reveal(), Count: count,
		GetBody: r.GetBody})
	if err != nil {
		return "", errors.New("the target's Digest challenge asks for what is not supported")
	}
	return credentials.String(), nil
}

// digestResponse is what of an answer to a challenge a password can be guessed by.
func digestResponse(value string) string {
	_, rest, _ := strings.Cut(value, `response="`)
	response, _, _ := strings.Cut(rest, `"`)
	return response
}
