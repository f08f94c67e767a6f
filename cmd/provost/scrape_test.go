package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/config"
)

// scraped is the listener of the metrics of a daemon in this process.
type scraped struct {
	t    *testing.T
	dir  string
	d    *daemon
	log  *logBuffer
	addr string
}

// newScraped starts it with what the configuration has for metrics.
func newScraped(t *testing.T, metrics string) *scraped {
	s := &scraped{t: t, dir: t.TempDir(), log: new(logBuffer)}
	s.certify(1)
	s.write("token", "first-token\n")
	cfg := s.config(metrics)
	d, err := openDaemon(t.Context(), cfg, slog.New(slog.NewTextHandler(s.log, nil)))
	require.NoError(t, err)
	s.d = d
	guard := &scrapeGuard{d: d}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l, err = guard.listener(t.Context(), l)
	require.NoError(t, err)
	server := &http.Server{Handler: guard.handler(), ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-ended
		require.NoError(t, d.close(t.Context()))
	})
	s.addr = l.Addr().String()
	return s
}

func (s *scraped) write(name, text string) {
	require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

func (s *scraped) config(metrics string) *config.Config {
	s.write("provost.yaml", "data_dir: data\n"+metrics)
	cfg, err := config.Load(filepath.Join(s.dir, "provost.yaml"))
	require.NoError(s.t, err)
	return cfg
}

// certify makes a certificate for 127.0.0.1 that signs itself.
func (s *scraped) certify(serial int64) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	of := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "provost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	require.NoError(s.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(s.t, err)
	s.write("tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	later := time.Now().Add(time.Duration(serial) * time.Minute) // the clock of files is coarse
	require.NoError(s.t, os.Chtimes(filepath.Join(s.dir, "tls.crt"), later, later))
}

// get asks with headers, in pairs.
func (s *scraped) get(url string, header ...string) (status int, body string, serial int64) {
	s.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, url, nil)
	require.NoError(s.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(r)
	require.NoError(s.t, err)
	b, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, answer.Body.Close())
	if answer.TLS != nil {
		serial = answer.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	return answer.StatusCode, string(b), serial
}

const guarded = "metrics: {tls: {cert: tls.crt, key: tls.key}, token: {file: token, previous: {value: older-token}}}\n"

func TestOnlyWhoHasTheTokenScrapes(t *testing.T) {
	s := newScraped(t, guarded)
	for name, authorization := range map[string]string{
		"none": "", "another": "Bearer other", "a part": "Bearer first", "of another kind": "Basic first-token", "empty": "Bearer ",
	} {
		status, body, _ := s.get("https://"+s.addr+"/metrics", "Authorization", authorization)
		require.Equal(t, http.StatusUnauthorized, status, name)
		require.NotContains(t, body, "provost_", name)
		require.NotContains(t, body, "first-token", name)
	}
	for _, token := range []string{"first-token", "older-token"} {
		status, body, _ := s.get("https://"+s.addr+"/metrics", "Authorization", "Bearer "+token)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, "provost_build_info{")
	}
	status, body, _ := s.get("https://" + s.addr + "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"status":"ready","checks":[]}`, body, "a probe without the token is told no reasons")
	_, body, _ = s.get("https://"+s.addr+"/readyz", "Authorization", "Bearer first-token")
	require.NotEmpty(t, body)

	require.NoError(t, os.Remove(filepath.Join(s.dir, "token")))
	s.d.current.Store(&running{config: s.config(guarded)})
	status, body, _ = s.get("https://"+s.addr+"/metrics", "Authorization", "Bearer first-token")
	require.Equal(t, http.StatusServiceUnavailable, status, "nobody is let in while it is not known whom to let in")
	require.NotContains(t, body, "provost_")
	require.NotContains(t, s.log.String(), "first-token")
}

func TestTheCertificateOfTheMetricsIsReadAgainWhenItChanges(t *testing.T) {
	s := newScraped(t, "metrics: {tls: {cert: tls.crt, key: tls.key}}\n")
	_, _, serial := s.get("https://" + s.addr + "/metrics")
	require.EqualValues(t, 1, serial)
	s.certify(2)
	_, _, serial = s.get("https://" + s.addr + "/metrics")
	require.EqualValues(t, 2, serial)
	s.write("tls.key", "not a key")
	status, _, serial := s.get("https://" + s.addr + "/metrics")
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 2, serial, "the one before goes on")
	require.Contains(t, s.log.String(), "the new certificate of the metrics can't be used")
	s.certify(3)
	_, _, serial = s.get("https://" + s.addr + "/metrics")
	require.EqualValues(t, 3, serial)

	s.d.current.Store(&running{config: s.config("")})
	status, _, _ = s.get("http://" + s.addr + "/metrics")
	require.Equal(t, http.StatusOK, status, "a reload takes TLS away, and the next connection is without")
}

func TestAListenerWhoseTokenOrCertificateCanNotBeHadIsNotBegun(t *testing.T) {
	for want, metrics := range map[string]string{
		"metrics.token: ": "metrics: {token: {env: PROVOST_NO_SUCH_TOKEN}}\n",
		"metrics.tls: ":   "metrics: {tls: {cert: tls.key, key: tls.crt}}\n",
	} {
		s := &scraped{t: t, dir: t.TempDir(), log: new(logBuffer)}
		s.certify(1)
		d := &daemon{log: slog.New(slog.DiscardHandler)}
		d.current.Store(&running{config: s.config(metrics)})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, err = (&scrapeGuard{d: d}).listener(t.Context(), l)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, l.Close(), net.ErrClosed)
	}
}

func TestMetricsThatOthersCanReachWithoutATokenAreWarnedOf(t *testing.T) {
	for _, one := range []struct{ metrics, warning string }{
		{"", "anybody who reaches the metrics may read them"},
		{"metrics: {token: {value: x}}\n", "goes over the network as it is"},
		{guarded, ""},
	} {
		s := &scraped{t: t, dir: t.TempDir(), log: new(logBuffer)}
		s.certify(1)
		s.write("token", "first-token")
		d := &daemon{log: slog.New(slog.NewTextHandler(s.log, nil))}
		d.current.Store(&running{config: s.config(one.metrics)})
		l, err := net.Listen("tcp", "0.0.0.0:0")
		require.NoError(t, err)
		l, err = (&scrapeGuard{d: d}).listener(t.Context(), l)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.Equal(t, one.warning != "", strings.Contains(s.log.String(), "level=WARN"), s.log)
		require.Contains(t, s.log.String(), one.warning)
	}
}

func TestAScraperGetsTheFormatThatItAsksFor(t *testing.T) {
	s := newScraped(t, "")
	s.d.metrics.Page("acme", "ok", 1, "0190-request")
	_, body, _ := s.get("http://" + s.addr + "/metrics")
	require.NotContains(t, body, "0190-request")
	_, body, _ = s.get("http://"+s.addr+"/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	require.Contains(t, body, `# {request_id="0190-request"} 1.0`)
	require.True(t, strings.HasSuffix(body, "# EOF\n"))
	_, body, _ = s.get("http://"+s.addr+"/metrics", "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	require.Contains(t, body, "0190-request")
	require.NotContains(t, body, "# HELP")
}
