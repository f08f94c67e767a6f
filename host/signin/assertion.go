package signin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"github.com/provosthq/provost/host"
)

// Assertion is what a signed token says (RFC 7519).
type Assertion struct {
	Issuer, Subject string
	Audience        []string
	// Lifetime is 5 minutes where it is 0.
	Lifetime time.Duration
	// KeyID is its kid, Algorithm its alg; "" is the key's own.
	KeyID, Algorithm string
	// Claims are further ones; they go before ours.
	Claims map[string]any
	// Certificate is that of the key; nil for none. Some servers find the key by
	// its thumbprint (x5t#S256, RFC 7515, 4.1.8).
	Certificate *x509.Certificate `json:"-"`
}

// skew is how far clocks may be apart.
const skew = 30 * time.Second

// Sign signs the assertion with a key.
func (a Assertion) Sign(key crypto.Signer, now time.Time) (string, error) {
	algorithm := jose.SignatureAlgorithm(a.Algorithm)
	if algorithm == "" {
		switch k := key.(type) {
		case *rsa.PrivateKey:
			algorithm = jose.RS256
		case *ecdsa.PrivateKey:
			algorithm = map[int]jose.SignatureAlgorithm{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[k.Curve.Params().BitSize]
		case ed25519.PrivateKey:
			algorithm = jose.EdDSA
		}
	}
	options := new(jose.SignerOptions).WithType("JWT")
	if a.KeyID != "" {
		options = options.WithHeader("kid", a.KeyID)
	}
	if a.Certificate != nil {
		sum := sha256.Sum256(a.Certificate.Raw)
		options = options.WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		return "", host.Errorf(host.InvalidInput, "the key can't sign with %q", printable(string(algorithm), 20))
	}
	payload, err := json.Marshal(a.claims(now))
	if err != nil {
		return "", host.Errorf(host.InvalidInput, "the assertion can't be written as JSON: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", host.Errorf(host.InvalidInput, "the key can't sign with %q", printable(string(algorithm), 20))
	}
	return signed.CompactSerialize()
}

func (a Assertion) claims(now time.Time) map[string]any {
	lifetime := a.Lifetime
	if lifetime <= 0 {
		lifetime = 5 * time.Minute
	}
	all := map[string]any{"iat": now.Unix(), "nbf": now.Add(-skew).Unix(), "exp": now.Add(lifetime).Unix(), "jti": uuid.NewString()}
	if a.Issuer != "" {
		all["iss"] = a.Issuer
	}
	if a.Subject != "" {
		all["sub"] = a.Subject
	}
	switch len(a.Audience) {
	case 0:
	case 1:
		all["aud"] = a.Audience[0]
	default:
		all["aud"] = a.Audience
	}
	maps.Copy(all, a.Claims)
	return all
}
