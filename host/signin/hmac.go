package signin

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what old servers ask for, keyed
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// HMACConfig is for [HMAC]: what of a request is signed, and where the
// signature goes.
type HMACConfig struct {
	// Header and Prefix are where it goes; the prefix may have {key_id} in it.
	Header, Prefix, KeyID string
	Algorithm             string // sha1, sha256, sha512
	Encoding              string // hex, base64
	// Template is what is signed, of {method}, {scheme}, {host}, {path}, {query},
	// {date}, {timestamp}, {key_id}, {body}, {body_sha256}, {body_sha256_base64},
	// and {header:NAME}; \n is a line break.
	Template   string
	DateHeader string
}

// Sign signs a request with a key.
func (c HMACConfig) Sign(r *http.Request, body []byte, key secret.Value, now time.Time) error {
	digest := map[string]func() hash.Hash{"sha1": sha1.New, "": sha256.New, "sha256": sha256.New, "sha512": sha512.New}[c.Algorithm]
	if digest == nil {
		return host.Errorf(host.InvalidInput, "%q is none of sha1, sha256, sha512", c.Algorithm)
	}
	date := now.UTC().Format(http.TimeFormat)
	if c.DateHeader != "" {
		r.Header.Set(c.DateHeader, date)
	}
	sum := sha256.Sum256(body)
	values := []string{"{method}", r.Method, "{scheme}", r.URL.Scheme, "{host}", r.URL.Host, "{path}", r.URL.EscapedPath(), "{query}", r.URL.RawQuery,
		"{date}", date, "{timestamp}", strconv.FormatInt(now.Unix(), 10), "{key_id}", c.KeyID, "{body}", string(body),
		"{body_sha256}", hex.EncodeToString(sum[:]), "{body_sha256_base64}", base64.StdEncoding.EncodeToString(sum[:]), `\n`, "\n"}
	for rest := c.Template; ; {
		_, after, ok := strings.Cut(rest, "{header:")
		if !ok {
			break
		}
		name, more, ok := strings.Cut(after, "}")
		if !ok {
			break
		}
		values = append(values, "{header:"+name+"}", r.Header.Get(name))
		rest = more
	}
	mac := hmac.New(digest, []byte(key.Reveal()))
	mac.Write([]byte(strings.NewReplacer(values...).Replace(c.Template))) // a hash takes every write
	signature := hex.EncodeToString(mac.Sum(nil))
	if c.Encoding == "base64" {
		signature = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	r.Header.Set(orElse(c.Header, "Authorization"), strings.ReplaceAll(c.Prefix, "{key_id}", c.KeyID)+signature)
	return nil
}
