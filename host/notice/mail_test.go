package notice_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/notice"
)

// mailbox is a real SMTP server that keeps what it takes.
type mailbox struct {
	mu     sync.Mutex
	mails  []string
	to     []string
	signed []string // who signed in, and whether over TLS
}

type mailSession struct {
	box  *mailbox
	conn *smtp.Conn
}

func (b *mailbox) NewSession(c *smtp.Conn) (smtp.Session, error) { return &mailSession{b, c}, nil }

func (s *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }
func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "provost" || password != "s3cret" {
			return errors.New("wrong")
		}
		_, secured := s.conn.TLSConnectionState()
		s.box.mu.Lock()
		defer s.box.mu.Unlock()
		s.box.signed = append(s.box.signed, map[bool]string{true: "over TLS", false: "in the clear"}[secured])
		return nil
	}), nil
}
func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, Message: "no such user"}
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.to = append(s.box.to, to)
	return nil
}
func (s *mailSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.mails = append(s.box.mails, string(b))
	return err
}
func (s *mailSession) Reset()        {}
func (s *mailSession) Logout() error { return nil }

// mailServer starts one; mode is a way to secure it.
func mailServer(t *testing.T, mode string) (*mailbox, notice.Mail) {
	t.Helper()
	authority := httptest.NewTLSServer(nil) // for its certificate, of 127.0.0.1
	t.Cleanup(authority.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}), 0o600))
	box := &mailbox{}
	server := smtp.NewServer(box)
	server.Domain, server.AllowInsecureAuth, server.ReadTimeout, server.WriteTimeout = "127.0.0.1", true, 10*time.Second, 10*time.Second
	secured := &tls.Config{Certificates: authority.TLS.Certificates}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	switch mode {
	case notice.StartTLS:
		server.TLSConfig = secured
	case notice.ImplicitTLS:
		l = tls.NewListener(l, secured)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with Close
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	m := notice.Mail{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: mode, CAFile: ca, From: "Provost <provost@example.com>",
		To: []string{"ops@example.com", "Duty <duty@example.com>"}, Dial: (&net.Dialer{}).DialContext}
	return box, m
}

func TestAMailGoesOverTLSWithItsSignIn(t *testing.T) {
	for _, mode := range []string{notice.StartTLS, notice.ImplicitTLS, notice.NoTLS} {
		t.Run(mode, func(t *testing.T) {
			box, m := mailServer(t, mode)
			if mode != notice.NoTLS {
				m.Username, m.Password = "provost", source(t, "s3cret")
			}
			require.NoError(t, m.Check())
			require.NoError(t, m.Send(t.Context(), message()))
			require.Equal(t, []string{"ops@example.com", "duty@example.com"}, box.to)
			require.Len(t, box.mails, 1)
			if mode != notice.NoTLS {
				require.Equal(t, []string{"over TLS"}, box.signed)
			}
			got, err := mail.ReadMessage(strings.NewReader(box.mails[0]))
			require.NoError(t, err)
			require.Equal(t, "<0199-1@example.com>", got.Header.Get("Message-Id"))
			require.Equal(t, "auto-generated", got.Header.Get("Auto-Submitted"))
			kind, _, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
			require.NoError(t, err)
			require.Equal(t, "text/plain", kind)
			require.Equal(t, "Provost: target Acme", got.Header.Get("Subject"))
			body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
			require.NoError(t, err)
			require.Contains(t, string(body), "Acme is left alone")
			require.Contains(t, string(body), "https://provost.example.com/console")
		})
	}
}

func TestAMailServerThatIsNotTrustedGetsNeitherMailNorPassword(t *testing.T) {
	box, m := mailServer(t, notice.StartTLS)
	m.Username, m.Password = "provost", source(t, "s3cret")
	other := m
	other.CAFile = "" // the system's authorities do not know it
	require.ErrorContains(t, other.Send(t.Context(), message()), "certificate")

	plainBox, plain := mailServer(t, notice.NoTLS)
	plain.TLS, plain.Username, plain.Password = notice.StartTLS, m.Username, m.Password
	require.ErrorContains(t, plain.Send(t.Context(), message()), "STARTTLS")
	plain.TLS = notice.NoTLS
	require.Error(t, plain.Check())
	require.ErrorContains(t, plain.Send(t.Context(), message()), "in the clear")

	wrong := m
	wrong.Password = source(t, "another")
	err := wrong.Send(t.Context(), message())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "another")
	nobody := m
	nobody.To = []string{"nobody@example.com"}
	require.ErrorContains(t, nobody.Send(t.Context(), message()), "no such user")
	require.Empty(t, box.mails)
	require.Empty(t, plainBox.mails)
	require.Empty(t, plainBox.signed)
}

func TestAMailOfManySaysWhatIsSoAndWhatIsOver(t *testing.T) {
	box, m := mailServer(t, notice.NoTLS)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	over := at.Add(time.Hour)
	require.NoError(t, m.Send(t.Context(), notice.Message{Id: "1", At: at, More: 7, Events: []notice.Event{
		{Event: host.NoticeResolved, Notice: host.Notice{Id: "n-1", Kind: host.NoticeTarget, Subject: "Globex", Text: "Globex is left alone", FirstRaised: at, ResolvedDate: &over}},
		{Event: host.NoticeRaised, Notice: host.Notice{Id: "n-2", Kind: host.NoticeCredential, Subject: "Acme\r\nBcc: eve@example.com", Text: "Acme\x1b[31m must be authorized", FirstRaised: at}},
	}}))
	got, err := mail.ReadMessage(strings.NewReader(box.mails[0]))
	require.NoError(t, err)
	require.Equal(t, "Provost: 9 notices", got.Header.Get("Subject"))
	require.Empty(t, got.Header.Get("Bcc"))
	b, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	require.NoError(t, err)
	text := strings.ReplaceAll(string(b), "\r\n", "\n")
	require.Equal(t, `credential Acme  Bcc: eve@example.com
  Acme [31m must be authorized
  since 2026-03-01T12:00:00Z
  notice n-2

Over: target Globex
  Globex is left alone
  since 2026-03-01T12:00:00Z, over at 2026-03-01T13:00:00Z
  notice n-1

And 7 more   -> provost notice list
`, strings.TrimRight(text, "\n")+"\n")
}
