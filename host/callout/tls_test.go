package callout_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

// authority is a certificate authority of the test's own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
	dir  string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.file = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	file := filepath.Join(a.dir, name)
	require.NoError(a.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// pair makes a certificate for 127.0.0.1 that ends at a time, in two files.
func (a *authority) pair(name string, ends time.Time) (cert, key string) {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: ends.Add(-2 * time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	require.NoError(a.t, err)
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "EC PRIVATE KEY", keyDER)
}

// serve starts a target with a certificate that ends at a time. Where clients
// is not nil, a client must have a certificate of it.
func (a *authority) serve(ends time.Time, clients *authority) (url string, reached *atomic.Int64) {
	certFile, keyFile := a.pair("server", ends)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(a.t, err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		config.ClientCAs.AddCert(clients.cert)
	}
	reached = new(atomic.Int64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		if len(r.TLS.PeerCertificates) > 0 {
			fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}))
	server.TLS, server.Config.ErrorLog = config, log.New(io.Discard, "", 0)
	server.StartTLS()
	a.t.Cleanup(server.Close)
	return server.URL, reached
}

func (a *authority) credential(url string, c callout.TLS) callout.Credential {
	return callout.Credential{Endpoint: url, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}, TLS: c}
}

func TestAnOwnAuthorityIsTrustedAndNoOther(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	url, reached := own.serve(time.Now().Add(time.Hour), nil)
	require.Equal(t, 200, get(open(t, new(bytes.Buffer), own.credential(url, callout.TLS{CAFile: own.file})), "callout:Acme/x").Status)
	for name, c := range map[string]callout.TLS{"the system's alone": {}, "another": {CAFile: other.file}} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			reached.Store(0)
			e := open(t, &log, own.credential(url, c))
			answer := e.Do(t.Context(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x", Body: []byte("x")})
			require.Equal(t, pdk.Unavailable, answer.Err.Type)
			require.Contains(t, answer.Err.Message, "certificate is not trusted")
			require.False(t, answer.Err.Uncertain, "nothing was sent")
			require.Zero(t, reached.Load())
			require.NotContains(t, log.String(), canary)
		})
	}
}

func TestACertificateThatHasEndedIsRefused(t *testing.T) {
	own := newAuthority(t)
	url, reached := own.serve(time.Now().Add(-time.Minute), nil)
	answer := get(open(t, new(bytes.Buffer), own.credential(url, callout.TLS{CAFile: own.file})), "callout:Acme/x")
	require.Equal(t, pdk.Unavailable, answer.Err.Type)
	require.Contains(t, answer.Err.Message, "expired")
	require.Zero(t, reached.Load())
}

func TestATargetThatWantsAClientCertificateGetsOurs(t *testing.T) {
	own, clients, strangers := newAuthority(t), newAuthority(t), newAuthority(t)
	url, reached := own.serve(time.Now().Add(time.Hour), clients)
	with := func(a *authority, name string, ends time.Time) callout.TLS {
		cert, key := a.pair(name, ends)
		return callout.TLS{CAFile: own.file, CertFile: cert, KeyFile: key}
	}
	answer := get(open(t, new(bytes.Buffer), own.credential(url, with(clients, "provost", time.Now().Add(time.Hour)))), "callout:Acme/x")
	require.Nil(t, answer.Err)
	require.Equal(t, "provost", string(answer.Body))
	reached.Store(0)
	for name, c := range map[string]callout.TLS{
		"none":           {CAFile: own.file},
		"a stranger's":   with(strangers, "stranger", time.Now().Add(time.Hour)),
		"one that ended": with(clients, "late", time.Now().Add(-time.Minute)),
	} {
		t.Run(name, func(t *testing.T) {
			answer := get(open(t, new(bytes.Buffer), own.credential(url, c)), "callout:Acme/x")
			require.Equal(t, pdk.Unavailable, answer.Err.Type)
			require.Contains(t, answer.Err.Message, "certificate")
			require.Zero(t, reached.Load())
		})
	}
	cert, _ := clients.pair("one", time.Now().Add(time.Hour))
	_, key := clients.pair("two", time.Now().Add(time.Hour))
	err := callout.New(callout.Options{}).Apply([]callout.Credential{own.credential(url, callout.TLS{CertFile: cert, KeyFile: key})})
	require.ErrorContains(t, err, "client certificate", "a key of another certificate")
}

func TestTheTokenEndpointIsHeldToTheSameAuthority(t *testing.T) {
	own, other := newAuthority(t), newAuthority(t)
	endpoint, _ := own.serve(time.Now().Add(time.Hour), nil)
	token, reached := other.serve(time.Now().Add(time.Hour), nil)
	c := own.credential(endpoint, callout.TLS{CAFile: own.file})
	c.SignIn.Protocol, c.SignIn.OAuth2 = signin.OAuth2, signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: token, ClientID: "me"}
	answer := get(open(t, new(bytes.Buffer), c), "callout:Acme/x")
	require.Contains(t, answer.Err.Message, "certificate is not trusted")
	require.Zero(t, reached.Load())
}

func TestTheStyleThatATokenEndpointTakesIsFoundOutOnce(t *testing.T) {
	for _, c := range []struct {
		style, takes signin.AuthStyle
		refusal      int
		asked        []signin.AuthStyle // by two fetches
		ok           bool
	}{
		{signin.AuthAuto, signin.AuthHeader, 401, []signin.AuthStyle{"header", "header"}, true},
		{signin.AuthAuto, signin.AuthParams, 401, []signin.AuthStyle{"header", "params", "params"}, true},
		{"", signin.AuthParams, 400, []signin.AuthStyle{"header", "params", "params"}, true},
		{signin.AuthAuto, "", 401, []signin.AuthStyle{"header", "params", "header", "params"}, false},
		{signin.AuthAuto, "", 503, []signin.AuthStyle{"header", "header"}, false},
		{signin.AuthHeader, signin.AuthParams, 401, []signin.AuthStyle{"header", "header"}, false},
		{signin.AuthParams, signin.AuthParams, 401, []signin.AuthStyle{"params", "params"}, true},
	} {
		t.Run(fmt.Sprintf("%q where %q is taken, else %d", c.style, c.takes, c.refusal), func(t *testing.T) {
			var asked []signin.AuthStyle
			target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/token" {
					w.WriteHeader(http.StatusUnauthorized) // lets each call fetch a new token
					return
				}
				style := signin.AuthParams
				id, password := r.PostFormValue("client_id"), r.PostFormValue("client_secret")
				if name, pw, ok := r.BasicAuth(); ok {
					style, id, password = signin.AuthHeader, name, pw
				}
				if asked = append(asked, style); style != c.takes || id != "me" || password != canary {
					w.WriteHeader(c.refusal)
					fmt.Fprint(w, `{"error":"invalid_client"}`)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, `{"access_token":"an-access-token","token_type":"bearer","expires_in":3600}`)
			}))
			defer target.Close()
			var log bytes.Buffer
			e := open(t, &log, callout.Credential{Endpoint: target.URL + "/api", SignIn: signin.Config{Protocol: signin.OAuth2, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "oauth2.client_secret"},
				OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: target.URL + "/token", ClientID: "me", AuthStyle: c.style}}})
			answer := get(e, "callout:Acme/x")
			if !c.ok {
				require.NotNil(t, answer.Err)
				require.Contains(t, answer.Err.Message, fmt.Sprintf("answered %d", c.refusal))
				answer = get(e, "callout:Acme/x")
			}
			require.Equal(t, c.ok, answer.Err == nil)
			require.Equal(t, c.asked, asked)
			require.NotContains(t, log.String(), canary)
		})
	}
	err := callout.New(callout.Options{}).Apply([]callout.Credential{{Name: "Acme", Endpoint: "https://x.example", SignIn: signin.Config{Protocol: signin.OAuth2, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "oauth2.client_secret"},
		OAuth2: signin.OAuth2Config{Grant: signin.ClientCredentials, TokenURL: "https://x.example", ClientID: "me", AuthStyle: "body"}}}})
	require.ErrorContains(t, err, "auth_style")
}
