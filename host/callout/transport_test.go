package callout_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/armon/go-socks5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/callout"
	"github.com/provosthq/provost/host/secret"
	"github.com/provosthq/provost/host/signin"
	"github.com/provosthq/provost/pdk"
)

var anonymous = signin.Config{Protocol: signin.Anonymous}

func packed(b []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is one
	_, _ = z.Write(b)                                       // into memory
	_ = z.Close()
	return out.Bytes()
}

func TestAnAnswerIsUnpackedByTheHostAndSearchedForSecrets(t *testing.T) {
	var asked atomic.Value
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("Accept-Encoding"))
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed([]byte("you sent " + r.Header.Get("Authorization"))))
		case "/br":
			w.Header().Set("Content-Encoding", "br")
			_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		case "/liar":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, r.Header.Get("Authorization"))
		case "/cut":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed(bytes.Repeat([]byte("abc"), 10_000))[:40])
		}
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: signin.Config{Protocol: signin.Bearer, Secret: signin.Secret{Ref: secret.Ref{Value: canary}, Path: "bearer.token"}}})
	got := get(e, "callout:Acme/gzip", "Accept-Encoding", "br, zstd")
	require.Equal(t, "you sent Bearer ***", string(got.Body))
	require.Equal(t, "gzip", asked.Load(), "what the connector wants is not asked for: it could not be searched")
	require.NotContains(t, got.Header, "content-encoding")
	for path, says := range map[string]string{"/br": "not asked for", "/liar": "no gzip", "/cut": "broke off"} {
		got := get(e, "callout:Acme"+path)
		require.NotNil(t, got.Err, path)
		require.Contains(t, got.Err.Message, says)
		require.NotContains(t, got.Err.Message, canary)
		require.Empty(t, got.Body)
	}
}

func TestABombOfGzipIsNotUnpackedBeyondItsBound(t *testing.T) {
	bomb := packed(make([]byte, 256<<20))
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb)
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: anonymous, MaxResponseBytes: 1 << 20})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := get(e, "callout:Acme/x")
	runtime.ReadMemStats(&after)
	require.Equal(t, pdk.Unsupported, got.Err.Type)
	require.Contains(t, got.Err.Message, "larger than 1048576 bytes")
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20))
}

// raw is a target that speaks as it likes.
func raw(t *testing.T, speak func(net.Conn, *bufio.Reader)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if _, err := http.ReadRequest(in); err == nil {
					speak(c, in)
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestATargetThatSpeaksAsNoTargetMayIsAnErrorAndNoMore(t *testing.T) {
	say := func(text string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, text) }
	}
	for name, speak := range map[string]func(net.Conn, *bufio.Reader){
		"nothing":             say(""),
		"half a header":       say("HTTP/1.1 200 OK\r\nContent-Le"),
		"no HTTP":             say("220 mail.example ESMTP\r\n"),
		"a status of letters": say("HTTP/1.1 abc OK\r\n\r\n"),
		"two lengths":         say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
		"a wrong length":      say("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello"),
		"a broken chunk":      say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello"),
		"a flood of headers": func(c net.Conn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for i := range 100_000 {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("y", 100)); err != nil {
					return
				}
			}
		},
		"a flood of 1xx": func(c net.Conn, _ *bufio.Reader) {
			for range 10_000 {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"); err != nil {
					return
				}
			}
		},
		"an endless body": func(c net.Conn, _ *bufio.Reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for block := bytes.Repeat([]byte("x"), 64<<10); ; {
				if _, err := c.Write(block); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: raw(t, speak), SignIn: anonymous, MaxResponseBytes: 1 << 20, Timeout: 20 * time.Second, NoRetries: true})
			got := get(e, "callout:Acme/x")
			require.NotNil(t, got.Err, "%d %q", got.Status, got.Body)
			require.False(t, got.Err.Uncertain, "a GET changes nothing")
			post := e.Do(t.Context(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x", Body: []byte("{}")})
			require.NotNil(t, post.Err)
			require.True(t, post.Err.Uncertain, "it may have been done: %s", post.Err.Message)
		})
	}
}

func TestReadsAreTriedAgainWithinABudgetAndNothingElseIs(t *testing.T) {
	var seen atomic.Int64
	healthy := int64(2)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := seen.Add(1)
		switch {
		case r.URL.Path == "/later":
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(http.StatusServiceUnavailable)
		case n <= healthy:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer target.Close()
	e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: target.URL, SignIn: anonymous})
	got := get(e, "callout:Acme/x")
	require.Equal(t, http.StatusOK, got.Status)
	require.Equal(t, 2, got.Record.Retries)
	seen.Store(0)
	require.Equal(t, http.StatusServiceUnavailable, get(e, "callout:Acme/later").Status)
	require.EqualValues(t, 1, seen.Load(), "the engine waits so long, no call does")
	seen.Store(0)
	require.Equal(t, http.StatusBadGateway, e.Do(t.Context(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "PUT", URL: "callout:Acme/x"}).Status)
	require.EqualValues(t, 1, seen.Load(), "what changes something is sent once")
	seen.Store(0)
	healthy = 1 << 60
	const calls = 40
	for range calls {
		require.Equal(t, http.StatusBadGateway, get(e, "callout:Acme/x").Status)
	}
	require.LessOrEqual(t, seen.Load(), int64(calls+calls/5+10), "a target that is down is not stormed")
}

func TestEachPhaseHasItsTime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer silent.Close()
	for name, c := range map[string]struct {
		endpoint string
		timeouts callout.Timeouts
	}{
		"tls":     {"https://" + silent.Addr().String(), callout.Timeouts{TLS: 50 * time.Millisecond}},
		"headers": {"http://" + silent.Addr().String(), callout.Timeouts{Headers: 50 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: c.endpoint, SignIn: anonymous, Timeout: time.Minute, Timeouts: c.timeouts, NoRetries: true})
			got := get(e, "callout:Acme/x")
			require.Equal(t, pdk.Unavailable, got.Err.Type, "%s", got.Err.Message)
			require.Contains(t, got.Err.Message, "time")
		})
	}
}

func TestTheRecordTellsWhereTheTimeWent(t *testing.T) {
	a := newAuthority(t)
	at, _ := a.serve(time.Now().Add(time.Hour), nil)
	e := open(t, new(bytes.Buffer), a.credential(at, callout.TLS{CAFile: a.file}))
	first, second := get(e, "callout:Acme/x").Record, get(e, "callout:Acme/x").Record
	require.Positive(t, first.Connect)
	require.Positive(t, first.TLS)
	require.Positive(t, first.Wait)
	require.False(t, first.Reused)
	require.NotEmpty(t, first.Address)
	require.True(t, second.Reused, "a connection is kept")
	require.Zero(t, second.TLS)
}

func TestAPinIsCheckedBesideTheAuthority(t *testing.T) {
	a := newAuthority(t)
	at, reached := a.serve(time.Now().Add(time.Hour), nil)
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	right := "sha256/" + base64.StdEncoding.EncodeToString(sum[:])
	wrong := "sha256/" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	require.Equal(t, 200, get(open(t, new(bytes.Buffer), a.credential(at, callout.TLS{CAFile: a.file, Pins: []string{wrong, right}})), "callout:Acme/x").Status)
	got := get(open(t, new(bytes.Buffer), a.credential(at, callout.TLS{CAFile: a.file, Pins: []string{wrong}})), "callout:Acme/x")
	require.Contains(t, got.Err.Message, "none of those that are pinned")
	got = get(open(t, new(bytes.Buffer), a.credential(at, callout.TLS{Pins: []string{right}})), "callout:Acme/x")
	require.Contains(t, got.Err.Message, "not trusted", "a pin makes up for no authority")
	require.EqualValues(t, 1, reached.Load())
	require.ErrorContains(t, callout.New(callout.Options{}).Apply([]callout.Credential{a.credential(at, callout.TLS{CAFile: a.file, Pins: []string{"sha1/x"}})}), "no pin")
}

// connectProxy is an HTTP proxy that wants to be signed in to.
func connectProxy(t *testing.T, asked *atomic.Int64) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("me:"+canary)) {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		r.Header.Del("Proxy-Authorization")
		if r.Method != http.MethodConnect {
			r.RequestURI = ""
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer answer.Body.Close()
			w.WriteHeader(answer.StatusCode)
			_, _ = io.Copy(w, answer.Body)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

func TestRequestsGoThroughAProxyThatIsConfigured(t *testing.T) {
	a := newAuthority(t)
	secure, reached := a.serve(time.Now().Add(time.Hour), nil)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			t.Error("the proxy's password reached the target")
		}
	}))
	defer plain.Close()
	var asked atomic.Int64
	through := connectProxy(t, &asked)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // changes nothing
	c := a.credential(secure, callout.TLS{CAFile: a.file})
	c.Proxy = callout.Proxy{URL: through, Username: "me", Password: secret.Ref{Value: canary}}
	require.Equal(t, 200, get(open(t, new(bytes.Buffer), c), "callout:Acme/x").Status)
	require.EqualValues(t, 1, asked.Load())
	require.EqualValues(t, 1, reached.Load())
	p := callout.Credential{Endpoint: plain.URL, SignIn: anonymous, Proxy: c.Proxy}
	require.Equal(t, 200, get(open(t, new(bytes.Buffer), p), "callout:Acme/x").Status)
	require.EqualValues(t, 2, asked.Load())

	c.Proxy.Password = secret.Ref{Value: "wrong"}
	got := get(open(t, new(bytes.Buffer), c), "callout:Acme/x")
	require.Contains(t, got.Err.Message, "Proxy Authentication Required")
	c.Proxy.Except = []string{"127.0.0.1"}
	require.Equal(t, 200, get(open(t, new(bytes.Buffer), c), "callout:Acme/x").Status)

	server, err := socks5.New(&socks5.Config{Credentials: socks5.StaticCredentials{"me": canary}, Logger: log.New(io.Discard, "", 0)})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() { _ = server.Serve(l) }() // ends with the listener
	c.Proxy = callout.Proxy{URL: "socks5://" + l.Addr().String(), Username: "me", Password: secret.Ref{Value: canary}}
	require.Equal(t, 200, get(open(t, new(bytes.Buffer), c), "callout:Acme/x").Status)

	// What the proxy would reach is no way to what nobody may call.
	for _, endpoint := range []string{"http://169.254.169.254/", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/"} {
		err := callout.New(callout.Options{}).Apply([]callout.Credential{{Name: "Acme", Endpoint: endpoint, SignIn: anonymous, Proxy: c.Proxy}})
		require.Error(t, err, endpoint)
	}
	granted := open(t, new(bytes.Buffer), c)
	answer := granted.Do(t.Context(), callout.Caller{Credential: "Acme", Hosts: []string{"*.example.com"}}, callout.Request{Method: "GET", URL: "http://2852039166/"})
	require.Equal(t, pdk.PermissionDenied, answer.Err.Type)
	for _, broken := range []string{"ftp://x:1", "http://user:pass@x:1", "http://x:1/path", "::"} {
		err := callout.New(callout.Options{}).Apply([]callout.Credential{{Name: "Acme", Endpoint: plain.URL, SignIn: anonymous, Proxy: callout.Proxy{URL: broken}}})
		require.ErrorContains(t, err, "credentials.Acme.proxy", broken)
	}
}

// toxic is a target behind a proxy of toxiproxy.
func toxic(t *testing.T, behind string, toxics ...string) string {
	t.Helper()
	u, err := url.Parse(behind)
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "target", "127.0.0.1:0", u.Host)
	require.NoError(t, server.Collection.Add(p, true))
	t.Cleanup(p.Stop)
	for _, text := range toxics {
		require.True(t, json.Valid([]byte(text)), text)
		_, err := p.Toxics.AddToxicJson(strings.NewReader(text))
		require.NoError(t, err)
	}
	return "http://" + p.Listen
}

func TestALineThatIsSlowCutOrResetIsSaidAndBounded(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, big) }))
	defer target.Close()
	for name, c := range map[string]struct{ toxic, says string }{
		"slow":          {`{"type": "bandwidth", "attributes": {"rate": 10}}`, "time is up"},
		"late":          {`{"type": "latency", "attributes": {"latency": 5000}}`, "time is up"},
		"cut":           {`{"type": "limit_data", "attributes": {"bytes": 5000}}`, "cut"},
		"half a header": {`{"type": "limit_data", "attributes": {"bytes": 20}}`, ""},
		"reset":         {`{"type": "reset_peer", "attributes": {"timeout": 0}}`, ""},
		"never":         {`{"type": "timeout", "attributes": {"timeout": 0}}`, "time is up"},
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, new(bytes.Buffer), callout.Credential{Endpoint: toxic(t, target.URL, c.toxic), SignIn: anonymous, Timeout: 500 * time.Millisecond})
			got := get(e, "callout:Acme/x")
			require.NotNil(t, got.Err, "%d", got.Status)
			require.Equal(t, pdk.Unavailable, got.Err.Type)
			require.Contains(t, got.Err.Message, c.says)
			post := e.Do(t.Context(), callout.Caller{Credential: "Acme"}, callout.Request{Method: "POST", URL: "callout:Acme/x", Body: []byte("{}")})
			require.NotNil(t, post.Err)
			require.True(t, post.Err.Uncertain)
		})
	}
	well := open(t, new(bytes.Buffer), callout.Credential{Endpoint: toxic(t, target.URL, `{"type": "slicer", "attributes": {"average_size": 1000, "delay": 10}}`), SignIn: anonymous, Timeout: 20 * time.Second})
	require.Len(t, get(well, "callout:Acme/x").Body, len(big))
}

func TestAnOldVersionOfTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	certFile, keyFile := a.pair("server", time.Now().Add(time.Hour))
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // that is the test
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	got := get(open(t, new(bytes.Buffer), a.credential(server.URL, callout.TLS{CAFile: a.file})), "callout:Acme/x")
	require.Contains(t, got.Err.Message, "protocol version")
}

func TestHTTP2IsSpokenWhereTheTargetDoes(t *testing.T) {
	a := newAuthority(t)
	certFile, keyFile := a.pair("server", time.Now().Add(time.Hour))
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	server.TLS, server.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{certificate}}, true
	server.StartTLS()
	defer server.Close()
	got := get(open(t, new(bytes.Buffer), a.credential(server.URL, callout.TLS{CAFile: a.file})), "callout:Acme/x")
	require.Equal(t, "HTTP/2.0", string(got.Body))
	require.Equal(t, "HTTP/2.0", got.Record.Protocol)
}
