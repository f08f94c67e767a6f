package callout_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/pdk"
)

// certificate makes one for 127.0.0.1, signed by a (or by itself), as change
// wants it.
func (a *authority) certificate(self bool, change func(*x509.Certificate)) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "a target"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	change(template)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	parent, signer := a.cert, a.key
	if self {
		parent, signer = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
	require.NoError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func TestTLSThatIsWrongInAnyWayLetsNothingThrough(t *testing.T) {
	a := newAuthority(t)
	other := newAuthority(t)
	as := func(*x509.Certificate) {}
	for name, c := range map[string]struct {
		certificate tls.Certificate
		server      func(*tls.Config)
		client      callout.TLS
	}{
		"signed by nobody":        {certificate: a.certificate(true, as)},
		"signed by another":       {certificate: other.certificate(false, as)},
		"ended":                   {certificate: a.certificate(false, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		"not begun":               {certificate: a.certificate(false, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })},
		"another host's":          {certificate: a.certificate(false, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"evil.example"} })},
		"by the common name only": {certificate: a.certificate(false, func(c *x509.Certificate) { c.IPAddresses, c.Subject.CommonName = nil, "127.0.0.1" })},
		"for clients only":        {certificate: a.certificate(false, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
		"below no authority": {certificate: func() tls.Certificate {
			middle := a.certificate(false, as) // is no authority, and signs all the same
			parent, err := x509.ParseCertificate(middle.Certificate[0])
			require.NoError(t, err)
			below := &authority{t: t, cert: parent, key: middle.PrivateKey.(*ecdsa.PrivateKey)}
			leaf := below.certificate(false, as)
			leaf.Certificate = append(leaf.Certificate, middle.Certificate...)
			return leaf
		}()},
		"an old version":       {certificate: a.certificate(false, as), server: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }},
		"another key's pin":    {certificate: a.certificate(false, as), client: callout.TLS{Pins: []string{"sha256/" + base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))}}},
		"wants a certificate":  {certificate: a.certificate(false, as), server: func(c *tls.Config) { c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }},
		"another's key behind": {certificate: tls.Certificate{Certificate: a.certificate(false, as).Certificate, PrivateKey: other.key}},
	} {
		t.Run(name, func(t *testing.T) {
			var reached atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
			server.TLS, server.Config.ErrorLog = &tls.Config{Certificates: []tls.Certificate{c.certificate}}, log.New(io.Discard, "", 0)
			if c.server != nil {
				c.server(server.TLS)
			}
			server.StartTLS()
			defer server.Close()
			c.client.CAFile = a.file
			said := new(bytes.Buffer)
			e := open(t, said, a.credential(server.URL, c.client))
			answer := e.Do(t.Context(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x", Body: []byte("x")})
			require.NotNil(t, answer.Err)
			require.Equal(t, pdk.Unavailable, answer.Err.Type)
			require.False(t, answer.Err.Uncertain, "nothing was sent: %s", answer.Err.Message)
			require.Zero(t, reached.Load())
			require.NotContains(t, said.String()+answer.Err.Message, canary)
		})
	}
	t.Run("no TLS at all", func(t *testing.T) {
		seen := make(chan string, 1)
		plain, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer plain.Close()
		go func() {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			b, _ := io.ReadAll(io.LimitReader(c, 4096)) // until it hangs up
			seen <- string(b)
		}()
		c := a.credential("https://"+plain.Addr().String(), callout.TLS{CAFile: a.file})
		c.NoRetries = true
		answer := get(open(t, new(bytes.Buffer), c), "callout:Acme/x")
		require.Equal(t, pdk.Unavailable, answer.Err.Type)
		require.NotContains(t, <-seen, canary)
	})
}
