package secret

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
)

// Ref says where a secret comes from; exactly one of Env, File, Sealed, Value,
// Command, Vault and Systemd is set. The zero Ref is no secret.
type Ref struct {
	Env    string // name of an environment variable
	File   string // path of a file; a newline at its end is not part of it
	Sealed string // sealed by a Sealer
	Value  string // the secret itself, for trials
	// Command prints it; the first word is the program, and no shell is asked.
	Command []string
	Vault   Vault
	// Systemd is the name of a credential in $CREDENTIALS_DIRECTORY.
	Systemd string
	// Cache is how long what a command or a vault gave is used; 0 is 5 minutes.
	Cache time.Duration
	// Previous is the secret before this one, which the target takes too while
	// one is changed for the other.
	Previous *Ref
}

// Vault is a secret of a server that speaks as HashiCorp's Vault does (KV
// version 1 or 2).
type Vault struct {
	URL   string // of the secret: https://vault.example.com/v1/secret/data/acme
	Field string // "" is value
	// Token is what the server wants to see.
	TokenEnv, TokenFile string
	Namespace           string
	// CAFile has the authorities to trust in place of the system's.
	CAFile string
}

// String tells where the secret comes from, and nothing of it.
func (r Ref) String() string {
	switch {
	case r.Env != "":
		return "env " + r.Env
	case r.File != "":
		return "file " + r.File
	case r.Systemd != "":
		return "systemd " + r.Systemd
	case len(r.Command) > 0:
		return "command " + filepath.Base(r.Command[0])
	case r.Vault.URL != "":
		return "vault"
	case r.Sealed != "":
		return "sealed " + mask
	case r.Value != "":
		return mask
	default:
		return "no secret"
	}
}

func (r Ref) GoString() string             { return r.String() }
func (r Ref) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, r.String()) } // a fmt.State takes every write
func (r Ref) LogValue() slog.Value         { return slog.StringValue(r.String()) }
func (r Ref) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }
func (r Ref) MarshalYAML() (any, error)    { return r.String(), nil }

// IsSet tells whether r names a secret.
func (r Ref) IsSet() bool { return r.kinds() > 0 }

func (r Ref) kinds() int {
	n := 0
	for _, is := range []bool{r.Env != "", r.File != "", r.Sealed != "", r.Value != "", len(r.Command) > 0, r.Vault.URL != "", r.Systemd != ""} {
		if is {
			n++
		}
	}
	return n
}

// Options are for [Open].
type Options struct {
	// Sealer opens what is sealed, for Binding; nil where nothing is.
	Sealer  *Sealer
	Binding string
	Logger  *slog.Logger
	// Client asks vaults; nil is one that follows no redirect.
	Client *http.Client
	Now    func() time.Time
}

const (
	// maxFileBytes bounds a secret, wherever it comes from.
	maxFileBytes = 64 << 10
	// looking is how often a file is looked at.
	looking = time.Second
	// asking bounds a command or a vault.
	asking       = 10 * time.Second
	defaultCache = 5 * time.Minute
)

// Source is a secret that is read as needed: a file again when it has changed, a
// command or a vault when what it gave is old. It may be used from many
// goroutines.
type Source struct {
	ref     Ref
	options Options
	before  *Source

	mu     sync.Mutex
	value  Value
	until  time.Time // looked at again after it
	seen   fileID
	failed bool // the last look failed, and the value is the one before
}

// fileID tells one state of a file from the next.
type fileID struct {
	size     int64
	modified time.Time
	target   string // where a link leads
}

// vaultClient asks vaults: it goes through no proxy and follows no redirect, for
// it carries the vault's token.
var vaultClient = newVaultClient(nil)

func newVaultClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: asking},
		Timeout:       asking,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// trusting is a client that trusts the authorities of a file.
func trusting(file string) (*http.Client, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, host.Errorf(host.InvalidInput, "the vault's own CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, host.Errorf(host.InvalidInput, "the vault's own CA: %s holds no certificate", file)
	}
	return newVaultClient(roots), nil
}

// Open checks a reference. It reads nothing yet.
func Open(r Ref, o Options) (*Source, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Client == nil {
		o.Client = vaultClient
	}
	fail := func(format string, args ...any) (*Source, error) {
		return nil, host.Errorf(host.InvalidInput, format, args...)
	}
	switch {
	case r.kinds() == 0:
		return fail("the secret stands nowhere")
	case r.kinds() > 1:
		return fail("the secret stands in %d places", r.kinds())
	case r.Sealed != "" && o.Sealer == nil:
		return nil, host.Errorf(host.Unauthorized, "a sealed secret needs the key: set secrets.identity_file")
	case r.Vault.URL != "":
		u, err := url.Parse(r.Vault.URL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return fail("the vault's URL is none; write https://vault.example.com/v1/secret/data/name")
		}
		if at := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (at == nil || !at.IsLoopback()) {
			return fail("the vault's URL is http, over which everybody sees its token and the secret; write https, or run an agent of the vault on this machine")
		}
		if (r.Vault.TokenEnv == "") == (r.Vault.TokenFile == "") {
			return fail("the vault wants one of token_env and token_file")
		}
	case r.Systemd != "" && (r.Systemd != filepath.Base(r.Systemd) || strings.HasPrefix(r.Systemd, ".")):
		return fail("%q is no name of a systemd credential", r.Systemd)
	}
	s := &Source{ref: r, options: o}
	if r.Previous != nil {
		if r.Previous.Previous != nil {
			return fail("a previous secret has no previous one")
		}
		older := o
		older.Binding += ".previous"
		var err error
		if s.before, err = Open(*r.Previous, older); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Values returns the secret, and after it the one before where there is one.
// Errors name where it comes from, never the value.
func (s *Source) Values(ctx context.Context) ([]Value, error) {
	v, err := s.current(ctx)
	if err != nil || s.before == nil {
		return []Value{v}, err
	}
	older, err := s.before.current(ctx)
	if err != nil {
		s.options.Logger.WarnContext(ctx, "the secret before the newest can't be read", "for", s.options.Binding, "error", err)
		return []Value{v}, nil
	}
	return []Value{v, older}, nil
}

func (s *Source) current(ctx context.Context) (Value, error) {
	s.mu.Lock() // who comes meanwhile waits, and asks nobody again
	defer s.mu.Unlock()
	now := s.options.Now()
	if s.value.IsSet() && (now.Before(s.until) || s.fixed()) {
		return s.value, nil
	}
	v, until, err := s.read(ctx, now)
	if err != nil {
		if !s.value.IsSet() {
			return Value{}, err
		}
		// A file that is being replaced, a vault that is down: what we have is good
		// until the target says otherwise.
		if !s.failed {
			s.options.Logger.WarnContext(ctx, "a secret can't be read anew; the one before is used", "for", s.options.Binding, "error", err)
		}
		s.failed, s.until = true, now.Add(looking)
		return s.value, nil
	}
	s.value, s.until, s.failed = v, until, false
	return v, nil
}

// fixed tells whether the secret stays what it is while the process runs.
func (s *Source) fixed() bool { return s.ref.Env != "" || s.ref.Sealed != "" || s.ref.Value != "" }

func (s *Source) read(ctx context.Context, now time.Time) (Value, time.Time, error) {
	r := s.ref
	lasts := r.Cache
	if lasts <= 0 {
		lasts = defaultCache
	}
	switch {
	case r.Env != "":
		v := os.Getenv(r.Env)
		if v == "" {
			return Value{}, now, host.Errorf(host.Unauthorized, "the environment variable %s is not set", r.Env)
		}
		return New(v), now, nil
	case r.Sealed != "":
		v, err := s.options.Sealer.Open(r.Sealed, s.options.Binding)
		return v, now, err
	case r.Value != "":
		return New(r.Value), now, nil
	case r.File != "":
		v, err := s.file(r.File)
		return v, now.Add(looking), err
	case r.Systemd != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return Value{}, now, host.Errorf(host.Unauthorized, "there are no systemd credentials: $CREDENTIALS_DIRECTORY is not set; run as a service with LoadCredential=%s", r.Systemd)
		}
		v, err := s.file(filepath.Join(dir, r.Systemd))
		return v, now.Add(looking), err
	case len(r.Command) > 0:
		v, err := Command(ctx, r.Command)
		return v, now.Add(lasts), err
	default:
		v, lease, err := s.vault(ctx)
		if lease > 0 && r.Cache <= 0 {
			lasts = lease
		}
		return v, now.Add(lasts), err
	}
}

// file reads a file that has changed since it was last read.
func (s *Source) file(path string) (Value, error) {
	f, err := os.Open(path)
	if err != nil {
		return Value{}, host.Errorf(host.Unauthorized, "the secret's file can't be read: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return Value{}, host.Errorf(host.Unauthorized, "the secret's file can't be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Value{}, host.Errorf(host.Unauthorized, "the secret's file %s is no file", path)
	}
	target, _ := filepath.EvalSymlinks(path) // only tells one state from the next
	seen := fileID{info.Size(), info.ModTime(), target}
	if s.value.IsSet() && seen == s.seen {
		return s.value, nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	defer clear(b)
	switch {
	case err != nil:
		return Value{}, host.Errorf(host.Unauthorized, "the secret's file can't be read: %w", err)
	case len(b) > maxFileBytes:
		return Value{}, host.Errorf(host.Unauthorized, "the secret's file %s is larger than %d bytes", path, maxFileBytes)
	}
	v := bytes.TrimRight(b, "\r\n")
	if len(v) == 0 {
		return Value{}, host.Errorf(host.Unauthorized, "the secret's file %s is empty", path)
	}
	s.seen = seen
	return New(string(v)), nil
}

// Command returns what a program prints, without the line break at its end. It
// is ended after 10 s with all that it started; what it prints on its standard
// error is not shown.
func Command(ctx context.Context, argv []string) (Value, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	group(c)
	c.WaitDelay = time.Second
	out := &bounded{most: maxFileBytes}
	c.Stdout = out
	err := c.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended, and something that it started has not
		_ = c.Cancel()
	}
	defer clear(out.b)
	name := filepath.Base(argv[0])
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Value{}, host.Errorf(host.Unauthorized, "the command %s did not end in %s", name, asking)
	case out.over:
		return Value{}, host.Errorf(host.Unauthorized, "the command %s printed more than %d bytes", name, maxFileBytes)
	case errors.Is(err, exec.ErrWaitDelay):
		return Value{}, host.Errorf(host.Unauthorized, "the command %s left something running that keeps its output open", name)
	case errors.As(err, &exit):
		return Value{}, host.Errorf(host.Unauthorized, "the command %s ended with %d", name, exit.ExitCode())
	case err != nil:
		return Value{}, host.Errorf(host.Unauthorized, "the command %s can't be run: %w", name, err)
	}
	v := bytes.TrimRight(out.b, "\r\n")
	if len(v) == 0 {
		return Value{}, host.Errorf(host.Unauthorized, "the command %s printed nothing", name)
	}
	return New(string(v)), nil
}

// bounded keeps so much and no more.
type bounded struct {
	b    []byte
	most int
	over bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > w.most {
		w.over = true
		return 0, errors.New("too much")
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// vault asks a server that speaks as Vault does.
func (s *Source) vault(ctx context.Context) (Value, time.Duration, error) {
	v := s.ref.Vault
	fail := func(format string, args ...any) (Value, time.Duration, error) {
		return Value{}, 0, host.Errorf(host.Unauthorized, "the vault: "+format, args...)
	}
	token := os.Getenv(v.TokenEnv)
	if v.TokenFile != "" {
		b, err := os.ReadFile(v.TokenFile)
		if err != nil {
			return fail("its token can't be read: %w", err)
		}
		token = strings.TrimSpace(string(b))
		clear(b)
	}
	if token == "" || strings.ContainsAny(token, "\r\n\x00") {
		return fail("there is no token for it")
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.URL, nil)
	if err != nil {
		return fail("its URL is none")
	}
	r.Header.Set("X-Vault-Token", token)
	r.Header.Set("X-Vault-Request", "true")
	if v.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", v.Namespace)
	}
	client := s.options.Client
	if v.CAFile != "" { // read each time, which is seldom: it may be another
		if client, err = trusting(v.CAFile); err != nil {
			return Value{}, 0, err
		}
		defer client.CloseIdleConnections()
	}
	answer, err := client.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fail("no answer: %w", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20+1))
	defer clear(b)
	switch {
	case err != nil || len(b) > 1<<20:
		return fail("its answer broke off, or is larger than 1 MiB")
	case answer.StatusCode != http.StatusOK:
		return fail("it answered %d", answer.StatusCode)
	}
	var document struct {
		LeaseDuration int64                      `json:"lease_duration"`
		Data          map[string]json.RawMessage `json:"data"`
	}
	if json.Unmarshal(b, &document) != nil {
		return fail("its answer is not what a vault answers")
	}
	field := v.Field
	if field == "" {
		field = "value"
	}
	raw, ok := document.Data[field]
	var inner map[string]json.RawMessage
	if _, versioned := document.Data["metadata"]; versioned && json.Unmarshal(document.Data["data"], &inner) == nil {
		raw, ok = inner[field]
	}
	var text string
	if !ok || json.Unmarshal(raw, &text) != nil || text == "" {
		return fail("the secret has no field %q that is text", field)
	}
	lease := time.Duration(min(max(document.LeaseDuration, 0), 24*3600)) * time.Second
	return New(text), lease, nil
}
