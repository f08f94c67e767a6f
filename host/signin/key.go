package signin

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/provosthq/provost/host"
)

// mostKeyBytes bounds a file that has a key.
const mostKeyBytes = 64 << 10

// ParseKey reads a private key, and the certificates beside it: PEM (PKCS#1, SEC
// 1, PKCS#8, also encrypted), DER (PKCS#8), PKCS#12 (also in base64) or JWK. It
// is RSA of 2048 bits or more, EC on P-256, P-384 or P-521, or Ed25519. Errors
// have nothing of the key in them.
func ParseKey(data []byte, password string) (crypto.Signer, []*x509.Certificate, error) {
	fail := func(format string, args ...any) (crypto.Signer, []*x509.Certificate, error) {
		return nil, nil, host.Errorf(host.InvalidInput, format, args...)
	}
	if len(data) > mostKeyBytes {
		return fail("the key is larger than %d bytes", mostKeyBytes)
	}
	var key any
	var certificates []*x509.Certificate
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(trimmed) == 0:
		return fail("there is no key")
	case trimmed[0] == '{':
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(trimmed); err != nil || !k.Valid() {
			return fail("the key is no valid JWK")
		}
		key, certificates = k.Key, k.Certificates
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN")):
		for rest := trimmed; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type == "CERTIFICATE" {
				c, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					return fail("a certificate beside the key can't be read")
				}
				certificates = append(certificates, c)
				continue
			}
			if key != nil || block.Type == "EC PARAMETERS" {
				continue
			}
			var err error
			if key, err = parseBlock(block, password); err != nil {
				return nil, nil, err
			}
		}
		if key == nil {
			return fail("the PEM text has no private key")
		}
	default:
		der := data
		if plain, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(trimmed), nil))); err == nil {
			der = plain
		}
		if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
			key = k
			break
		}
		k, leaf, chain, err := pkcs12.DecodeChain(der, password)
		if err != nil {
			return fail("the key is none of PEM, PKCS#8, JWK and PKCS#12, or its password is wrong")
		}
		key, certificates = k, append([]*x509.Certificate{leaf}, chain...)
	}
	signer, err := checkKey(key)
	return signer, certificates, err
}

func parseBlock(block *pem.Block, password string) (any, error) {
	var key any
	var err error
	switch {
	case block.Headers["DEK-Info"] != "":
		return nil, host.Errorf(host.InvalidInput, "the key is encrypted in OpenSSL's old way, which protects nothing; convert it: openssl pkcs8 -topk8")
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		if password == "" {
			return nil, host.Errorf(host.InvalidInput, "the key is encrypted, and there is no password")
		}
		if key, err = pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(password)); err != nil {
			return nil, host.Errorf(host.InvalidInput, "the key can't be opened: its password is wrong, or it is damaged")
		}
	default:
		return nil, host.Errorf(host.InvalidInput, "the PEM text has a %q where a private key was expected", printable(block.Type, 40))
	}
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the %s can't be read: it is damaged, or of a kind that is not supported", block.Type)
	}
	return key, nil
}

func checkKey(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, host.Errorf(host.InvalidInput, "the RSA key has %d bits; 2048 is the least", k.N.BitLen())
		}
		if err := k.Validate(); err != nil {
			return nil, host.Errorf(host.InvalidInput, "the RSA key is damaged")
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return nil, host.Errorf(host.InvalidInput, "the EC key is on a curve other than P-256, P-384 and P-521")
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	default:
		return nil, host.Errorf(host.InvalidInput, "the key is no private key of RSA, EC or Ed25519")
	}
}
