package signin_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
)

// The examples that AWS's documentation of Signature Version 4 computes: those of
// S3, whose path is encoded once and whose body's digest is a header, and
// that of IAM. The cases of its test suite stand beside the other ways to sign in.
func TestAWSSignaturesAreThoseOfTheDocumentation(t *testing.T) {
	for name, v := range map[string]struct {
		id, key, service, at string
		when                 time.Time
		header               []string
		signed, signature    string
	}{
		"an object of S3": {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3", "https://examplebucket.s3.amazonaws.com/test.txt", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
			[]string{"Range", "bytes=0-9"}, "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		"a subresource of S3": {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3", "https://examplebucket.s3.amazonaws.com/?lifecycle", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
			nil, "host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		"a listing of S3": {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC),
			nil, "host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
		"the users of IAM": {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "iam", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC),
			[]string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}, "content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		t.Run(name, func(t *testing.T) {
			config := signin.Config{Protocol: signin.AWS, Secret: value(v.key), AWS: signin.AWSConfig{Region: "us-east-1", Service: v.service, AccessKeyID: v.id}}
			r := signed(t, open(t, config, v.at, func() time.Time { return v.when }), "GET", v.at, nil, v.header...)
			require.Equal(t, "AWS4-HMAC-SHA256 Credential="+v.id+"/"+v.when.Format("20060102")+"/us-east-1/"+v.service+"/aws4_request, SignedHeaders="+v.signed+", Signature="+v.signature, r.Header.Get("Authorization"))
		})
	}
}

// The keys and signatures of RFC 7515 (A.2, A.3) and RFC 8037 (A.1, A.4).
func TestKeysOfTheRFCsSignAsTheRFCsSay(t *testing.T) {
	const claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
	for name, c := range map[string]struct {
		jwk, payload, jws string
		algorithm         jose.SignatureAlgorithm
		random            bool // each signature is another
	}{
		"RFC 7515, A.2": {
			jwk:       `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB","d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ","p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc","q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc","dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0","dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU","qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U"}`,
			payload:   claims,
			algorithm: jose.RS256,
			jws:       "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		},
		"RFC 7515, A.3": {
			jwk:       `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`,
			payload:   claims,
			algorithm: jose.ES256,
			random:    true,
			jws:       "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
		"RFC 8037, A.4": {
			jwk:       `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			payload:   "Example of Ed25519 signing",
			algorithm: jose.EdDSA,
			jws:       "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, _, err := signin.ParseKey([]byte(c.jwk), "")
			require.NoError(t, err)
			theirs, err := jose.ParseSignedCompact(c.jws, []jose.SignatureAlgorithm{c.algorithm})
			require.NoError(t, err)
			plain, err := theirs.Verify(key.Public())
			require.NoError(t, err)
			require.Equal(t, c.payload, string(plain))
			if !c.random {
				signer, err := jose.NewSigner(jose.SigningKey{Algorithm: c.algorithm, Key: key}, nil)
				require.NoError(t, err)
				ours, err := signer.Sign([]byte(c.payload))
				require.NoError(t, err)
				text, err := ours.CompactSerialize()
				require.NoError(t, err)
				require.Equal(t, c.jws, text)
			}
			// What we sign with it is of the algorithm that the key is for.
			token, err := signin.Assertion{Issuer: "me"}.Sign(key, time.Now())
			require.NoError(t, err)
			parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{c.algorithm})
			require.NoError(t, err)
			_, err = parsed.Verify(public(t, key))
			require.NoError(t, err)
		})
	}
}

func public(t *testing.T, key crypto.Signer) any {
	t.Helper()
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return &k.PublicKey
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	case ed25519.PrivateKey:
		return k.Public()
	}
	t.Fatalf("%T", key)
	return nil
}

// The form and the claims of RFC 7523, 2.1, 2.2 and 4.
func TestAnAssertionIsAskedWithAsTheRFCSays(t *testing.T) {
	const private = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
	key, _, err := signin.ParseKey([]byte(private), "")
	require.NoError(t, err)
	now := time.Date(2011, 3, 22, 18, 0, 0, 0, time.UTC)
	read := func(text string) (header jose.Header, claims map[string]any) {
		parsed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
		require.NoError(t, err)
		plain, err := parsed.Verify(key.Public())
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(plain, &claims))
		require.NotEmpty(t, claims["jti"])
		delete(claims, "jti")
		return parsed.Signatures[0].Header, claims
	}
	e := newEndpoint(t, func(w http.ResponseWriter, _ url.Values, _ *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"t"}`))
	})
	c := signin.Config{Protocol: signin.OAuth2, Key: signin.Key{Secret: value(private), ID: "16"}, Timeout: 5 * time.Second,
		Assertion: signin.Assertion{Issuer: "https://jwt-idp.example.com", Subject: "mailto:mike@example.com", Audience: []string{"https://jwt-rp.example.net"},
			Lifetime: time.Minute, Claims: map[string]any{"http://claims.example.com/member": true}},
		OAuth2: signin.OAuth2Config{Grant: signin.JWTBearer, TokenURL: e.URL}}
	signed(t, open(t, c, "https://x.example", func() time.Time { return now }), "GET", "https://x.example/", nil)
	form := e.forms[0]
	require.Equal(t, "urn:ietf:params:oauth:grant-type:jwt-bearer", form.Get("grant_type"))
	header, claims := read(form.Get("assertion"))
	require.Equal(t, "ES256", header.Algorithm)
	require.Equal(t, "16", header.KeyID)
	require.Equal(t, map[string]any{"iss": "https://jwt-idp.example.com", "sub": "mailto:mike@example.com", "aud": "https://jwt-rp.example.net",
		"iat": float64(now.Unix()), "nbf": float64(now.Add(-30 * time.Second).Unix()), "exp": float64(now.Add(time.Minute).Unix()), "http://claims.example.com/member": true}, claims)

	// The client's own: its id is issuer and subject, the server's issuer the audience.
	c.OAuth2.Grant, c.OAuth2.ClientID, c.OAuth2.AuthStyle = signin.ClientCredentials, "s6BhdRkqt3", signin.AuthPrivateKeyJWT
	c.Assertion = signin.Assertion{Audience: []string{"https://jwt-rp.example.net"}}
	signed(t, open(t, c, "https://x.example", func() time.Time { return now }), "GET", "https://x.example/", nil)
	form = e.forms[1]
	require.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", form.Get("client_assertion_type"))
	require.Equal(t, "client_credentials", form.Get("grant_type"))
	_, claims = read(form.Get("client_assertion"))
	require.Equal(t, map[string]any{"iss": "s6BhdRkqt3", "sub": "s6BhdRkqt3", "aud": "https://jwt-rp.example.net",
		"iat": float64(now.Unix()), "nbf": float64(now.Add(-30 * time.Second).Unix()), "exp": float64(now.Add(5 * time.Minute).Unix())}, claims)
}

// The vectors of RFC 2202 (SHA-1) and RFC 4231 (SHA-256, SHA-512), cases 1, 2 and
// one with a key that is longer than a block.
func TestKeyedDigestsAreThoseOfTheRFCs(t *testing.T) {
	for _, c := range []struct{ algorithm, key, data, want string }{
		{"sha1", strings.Repeat("\x0b", 20), "Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"},
		{"sha1", "Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{"sha1", strings.Repeat("\xaa", 80), "Test Using Larger Than Block-Size Key - Hash Key First", "aa4ae5e15272d00e95705637ce8a3b55ed402112"},
		{"sha256", strings.Repeat("\x0b", 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"sha256", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"sha256", strings.Repeat("\xaa", 131), "Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		{"sha512", strings.Repeat("\x0b", 20), "Hi There", "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
		{"sha512", "Jefe", "what do ya want for nothing?", "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://x.example/", nil)
		require.NoError(t, err)
		require.NoError(t, signin.HMACConfig{Header: "X-Signature", Algorithm: c.algorithm, Template: "{body}"}.Sign(r, []byte(c.data), secret.New(c.key), time.Now()))
		require.Equal(t, c.want, r.Header.Get("X-Signature"), c.algorithm)
	}
}
