package notice

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/secret"
)

// The ways to secure the connection to a mail server.
const (
	// StartTLS begins in the clear and goes on only where TLS can be had.
	StartTLS = "starttls"
	// ImplicitTLS is TLS from the first byte.
	ImplicitTLS = "implicit"
	// NoTLS sends in the clear, and no password.
	NoTLS = "none"
)

// Mail sends what was gathered as one plain text.
type Mail struct {
	// Host and Port are those of the server.
	Host string
	Port int
	// TLS is [StartTLS], [ImplicitTLS] or [NoTLS]; CAFile has the authorities to
	// trust, "" for the system's.
	TLS, CAFile string
	// Username signs in with Password; "" for no sign-in.
	Username string
	Password *secret.Source
	// From is the sender, To are who get it: addresses, with a name or without.
	From string
	To   []string
	Dial Dial
}

// Check tells what is wrong with it as far as that can be told without sending.
func (s *Mail) Check() error {
	if s.Username != "" && s.TLS == NoTLS {
		return host.Errorf(host.InvalidInput, "a password is not sent in the clear: write tls: starttls or tls: implicit")
	}
	if _, err := s.tls(); err != nil {
		return err
	}
	_, err := s.message(Message{Id: "check"})
	return err
}

func (s *Mail) tls() (*tls.Config, error) {
	c := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		b, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "the authorities to trust can't be read: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, host.Errorf(host.InvalidInput, "%s has no certificate in PEM", s.CAFile)
		}
	}
	return c, nil
}

// Send implements [Sender].
func (s *Mail) Send(ctx context.Context, m Message) error {
	message, err := s.message(m)
	if err != nil {
		return err
	}
	secured, err := s.tls()
	if err != nil {
		return err
	}
	var stop func() bool // of what hangs up when ctx ends
	defer func() {
		if stop != nil {
			stop()
		}
	}()
	outer := ctx // go-mail's own ends with the sign-in
	options := []mail.Option{mail.WithPort(s.Port), mail.WithTimeout(sendTime), mail.WithTLSConfig(secured), mail.WithoutNoop(),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := s.Dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			stop = context.AfterFunc(outer, func() { _ = c.Close() })
			if s.TLS != ImplicitTLS {
				return c, nil
			}
			t := tls.Client(c, secured)
			if err := t.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, c.Close())
			}
			return t, nil
		})}
	switch s.TLS {
	case ImplicitTLS:
		options = append(options, mail.WithSSL())
	case NoTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.Username != "" {
		values, err := s.Password.Values(ctx)
		if err != nil {
			return err
		}
		options = append(options, mail.WithSMTPAuthCustom(&auth{host: s.Host, username: s.Username, password: values[0]}))
	}
	client, err := mail.NewClient(s.Host, options...)
	if err != nil {
		return host.Errorf(host.InvalidInput, "the mail server can't be used: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, message); err != nil {
		return host.Errorf(host.Unavailable, "the mail server %s does not take it: %w", net.JoinHostPort(s.Host, fmt.Sprint(s.Port)), err)
	}
	return nil
}

// message writes the mail.
func (s *Mail) message(m Message) (*mail.Msg, error) {
	message := mail.NewMsg()
	if err := message.From(s.From); err != nil {
		return nil, host.Errorf(host.InvalidInput, "%q is no address", s.From)
	}
	for _, to := range s.To {
		if err := message.AddTo(to); err != nil {
			return nil, host.Errorf(host.InvalidInput, "%q is no address", to)
		}
	}
	domain := s.Host
	if from := message.GetFrom(); len(from) == 1 {
		domain = from[0].Address[strings.LastIndex(from[0].Address, "@")+1:]
	}
	message.SetMessageIDWithValue(m.Id + "@" + domain)
	message.SetDateWithValue(m.At)
	// No vacation notice answers it (RFC 3834).
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	message.Subject(subject(m))
	message.SetBodyString(mail.TypeTextPlain, text(m))
	return message, nil
}

// subject is the mail's.
func subject(m Message) string {
	if len(m.Events) == 1 && m.More == 0 {
		n := m.Events[0].Notice
		line := fmt.Sprintf("Provost: %s %s", n.Kind, n.Subject)
		if m.Events[0].Event == host.NoticeResolved {
			line += " is over"
		}
		return printable(line)
	}
	raised := 0
	for _, e := range m.Events {
		if e.Event == host.NoticeRaised {
			raised++
		}
	}
	if m.More > 0 {
		return fmt.Sprintf("Provost: %d notices", len(m.Events)+m.More)
	}
	return fmt.Sprintf("Provost: %d notices, %d over", raised, len(m.Events)-raised)
}

// text is the mail's: what is so first, then what is over.
func text(m Message) string {
	var b strings.Builder
	for _, event := range []host.NoticeEvent{host.NoticeRaised, host.NoticeResolved} {
		for _, e := range m.Events {
			if e.Event != event {
				continue
			}
			n := e.Notice
			if event == host.NoticeResolved {
				b.WriteString("Over: ")
			}
			fmt.Fprintf(&b, "%s %s\n  %s\n  since %s", n.Kind, printable(n.Subject), printable(n.Text), n.FirstRaised.UTC().Format(time.RFC3339))
			if event == host.NoticeResolved && n.ResolvedDate != nil {
				fmt.Fprintf(&b, ", over at %s", n.ResolvedDate.UTC().Format(time.RFC3339))
			}
			fmt.Fprintf(&b, "\n  notice %s\n\n", n.Id)
		}
	}
	if m.More > 0 {
		fmt.Fprintf(&b, "And %d more   -> provost notice list\n\n", m.More)
	}
	if m.Link != "" {
		b.WriteString(m.Link + "\n")
	}
	return b.String()
}

// printable is s on one line, without what a terminal or a mail's header would
// take for something else.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// auth signs in with the best that the server offers: SCRAM, and over TLS PLAIN
// or LOGIN. go-mail's own choice takes a connection that is TLS from the first
// byte for one in the clear where it did not dial itself.
type auth struct {
	host, username string
	password       secret.Value
	chosen         smtp.Auth
}

func (a *auth) Start(server *smtp.ServerInfo) (proto string, toServer []byte, err error) {
	offers := func(name string) bool {
		return slices.ContainsFunc(server.Auth, func(s string) bool { return strings.EqualFold(s, name) })
	}
	switch password := a.password.Reveal(); {
	case !server.TLS:
		return "", nil, errors.New("a password is not sent in the clear")
	case offers("SCRAM-SHA-256"):
		a.chosen = smtp.ScramSHA256Auth(a.username, password)
	case offers("PLAIN"):
		a.chosen = smtp.PlainAuth("", a.username, password, a.host, false)
	case offers("LOGIN"):
		a.chosen = smtp.LoginAuth(a.username, password, a.host, false)
	default:
		return "", nil, fmt.Errorf("it offers no sign-in that we know: %s", strings.Join(server.Auth, ", "))
	}
	return a.chosen.Start(server)
}

func (a *auth) Next(fromServer []byte, more bool) (toServer []byte, err error) {
	return a.chosen.Next(fromServer, more)
}
