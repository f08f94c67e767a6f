// Package secret holds values that must not be seen. A [Value] prints as ***
// wherever it ends up by mistake; a [Ref] says where a value comes from; a
// [Sealer] keeps values at rest.
package secret

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"log/slog"

	"github.com/provosthq/provost/host"
)

// mask is what a Value shows of itself.
const mask = "***"

// Value is a secret. Only [Value.Reveal] shows it.
type Value struct{ s string }

// New makes a Value.
func New(s string) Value { return Value{s} }

// Reveal returns the secret. Call it where it is used, and keep the result
// nowhere.
func (v Value) Reveal() string { return v.s }

// IsSet tells whether there is a secret at all.
func (v Value) IsSet() bool { return v.s != "" }

func (Value) String() string               { return mask }
func (Value) GoString() string             { return mask }
func (Value) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, mask) } // a fmt.State takes every write
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }
func (Value) MarshalText() ([]byte, error) { return []byte(mask), nil }
func (Value) LogValue() slog.Value         { return slog.StringValue(mask) }

// Ref says where a secret comes from; exactly one field is set. The zero Ref
// is no secret.
type Ref struct {
	Env    string // name of an environment variable
	File   string // path of a file; a newline at its end is not part of it
	Sealed string // sealed by a Sealer
	Value  string // the secret itself, for trials
}

// IsSet tells whether r names a secret.
func (r Ref) IsSet() bool { return r != Ref{} }

// maxFileBytes bounds a file that holds a secret.
const maxFileBytes = 64 << 10

// Resolve reads the secret. Errors name the reference, never the value. s may
// be nil where nothing is sealed.
func Resolve(r Ref, s *Sealer) (Value, error) {
	switch {
	case r.Env != "":
		v, ok := os.LookupEnv(r.Env)
		if !ok || v == "" {
			return Value{}, host.Errorf(host.Unauthorized, "the environment variable %s is not set", r.Env)
		}
		return New(v), nil
	case r.File != "":
		f, err := os.Open(r.File)
		if err != nil {
			return Value{}, host.Errorf(host.Unauthorized, "the secret's file can't be read: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
		switch {
		case err != nil:
			return Value{}, host.Errorf(host.Unauthorized, "the secret's file can't be read: %w", err)
		case len(b) > maxFileBytes:
			return Value{}, host.Errorf(host.Unauthorized, "the secret's file %s is larger than %d bytes", r.File, maxFileBytes)
		}
		v := strings.TrimRight(string(b), "\r\n")
		if v == "" {
			return Value{}, host.Errorf(host.Unauthorized, "the secret's file %s is empty", r.File)
		}
		return New(v), nil
	case r.Sealed != "":
		if s == nil {
			return Value{}, host.Errorf(host.Unauthorized, "a sealed secret needs the key: set secrets.identity_file")
		}
		return s.Open(r.Sealed)
	default:
		return New(r.Value), nil
	}
}

// Sealer seals secrets for storage with age (X25519).
type Sealer struct{ identity *age.X25519Identity }

// NewSealer reads an age identity: AGE-SECRET-KEY-1….
func NewSealer(identity string) (*Sealer, error) {
	for line := range strings.Lines(identity) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "the key is no age identity; make one with age-keygen")
		}
		return &Sealer{id}, nil
	}
	return nil, host.Errorf(host.InvalidInput, "there is no age identity; make one with age-keygen")
}

// GenerateIdentity makes a new identity for [NewSealer].
func GenerateIdentity() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	return id.String(), nil
}

// Seal returns v as text that only this key opens.
func (s *Sealer) Seal(v Value) (string, error) {
	var b bytes.Buffer
	w, err := age.Encrypt(&b, s.identity.Recipient())
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(w, v.Reveal()); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// Open opens what [Sealer.Seal] made.
func (s *Sealer) Open(sealed string) (Value, error) {
	b, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return Value{}, host.Errorf(host.Unauthorized, "a sealed secret is damaged: it is no base64")
	}
	r, err := age.Decrypt(bytes.NewReader(b), s.identity)
	if err != nil {
		return Value{}, host.Errorf(host.Unauthorized, "a sealed secret can't be opened with this key: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFileBytes))
	if err != nil {
		return Value{}, host.Errorf(host.Unauthorized, "a sealed secret is damaged: %w", err)
	}
	return New(string(plain)), nil
}
