package secret

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/provosthq/provost/host"
)

// Sealer seals secrets for storage with age (X25519). Each secret has a data key
// of its own, which age makes and wraps for the identity. It may be used from
// many goroutines.
type Sealer struct {
	// identities open; the first seals.
	identities []age.Identity
	recipient  *age.X25519Recipient
	names      []string // of the keys, in the order of identities
}

// mostIdentities bounds the keys that are in use at once.
const mostIdentities = 20

// NewSealer reads age identities, AGE-SECRET-KEY-1…, a line each. The first
// seals, all open: to change the key, put a new one before the old.
func NewSealer(identities string) (*Sealer, error) {
	s := &Sealer{}
	for line := range strings.Lines(identities) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, host.Errorf(host.InvalidInput, "a key is no age identity; make one with provost credential identity")
		}
		if len(s.identities) == mostIdentities {
			return nil, host.Errorf(host.InvalidInput, "there are more than %d age identities", mostIdentities)
		}
		if s.recipient == nil {
			s.recipient = id.Recipient()
		}
		s.identities = append(s.identities, id)
		s.names = append(s.names, nameOf(id.Recipient().String()))
	}
	if s.recipient == nil {
		return nil, host.Errorf(host.InvalidInput, "there is no age identity; make one with provost credential identity")
	}
	return s, nil
}

// GenerateIdentity makes a new identity for [NewSealer].
func GenerateIdentity() (string, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	return id.String(), nil
}

// nameOf is what a key is called where it must not be seen whole: a digest of
// its public half.
func nameOf(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	return hex.EncodeToString(sum[:6])
}

// KeyID names the key that seals. It is no secret.
func (s *Sealer) KeyID() string { return s.names[0] }

// Knows tells whether what a key sealed can be opened.
func (s *Sealer) Knows(keyID string) bool {
	for _, name := range s.names {
		if name == keyID {
			return true
		}
	}
	return false
}

// What is sealed is "v2.<key>.<base64>": within age's file, which is
// authenticated, stands what the secret is for and then the secret, so that a
// text that is put into another place does not open there.
const version = "v2"

// mostBinding bounds what a secret is for.
const mostBinding = 1 << 10

// Seal returns v as text that only this key opens, and only for binding, such as
// credential/Acme/basic.password.
func (s *Sealer) Seal(v Value, binding string) (string, error) {
	if len(binding) > mostBinding {
		return "", host.Errorf(host.InvalidInput, "what a secret is for is named in more than %d bytes", mostBinding)
	}
	plain := v.Reveal()
	var b bytes.Buffer
	w, err := age.Encrypt(&b, s.recipient)
	if err != nil {
		return "", err
	}
	head := binary.BigEndian.AppendUint16(nil, uint16(len(binding)))
	_, err = w.Write(append(head, binding...))
	if err == nil {
		_, err = io.WriteString(w, plain)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	return version + "." + s.KeyID() + "." + base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// SealedWith names the key that a text is sealed with; "" where it does not say.
func SealedWith(sealed string) string {
	v, rest, _ := strings.Cut(sealed, ".")
	name, _, ok := strings.Cut(rest, ".")
	if v != version || !ok || len(name) > 64 {
		return ""
	}
	return name
}

// Open opens what [Sealer.Seal] made for the same binding. A text of before
// there were bindings opens for any.
func (s *Sealer) Open(sealed, binding string) (Value, error) {
	fail := func(format string, args ...any) (Value, error) {
		return Value{}, host.Errorf(host.Unauthorized, format, args...)
	}
	text, bound := sealed, false
	if name := SealedWith(sealed); name != "" {
		if !s.Knows(name) {
			return fail("a secret is sealed with the key %s, which is not here (the keys here: %s); give that key back, or seal the secret anew", name, strings.Join(s.names, ", "))
		}
		text, bound = sealed[len(version)+len(name)+2:], true
	}
	if len(text) > 2*maxFileBytes {
		return fail("a sealed secret is larger than %d bytes", maxFileBytes)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fail("a sealed secret is damaged: it is no base64")
	}
	r, err := age.Decrypt(bytes.NewReader(b), s.identities...)
	if err != nil {
		return fail("a sealed secret can't be opened with this key: it was sealed with another, or is damaged")
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFileBytes+2048))
	defer clear(plain)
	if err != nil {
		return fail("a sealed secret is damaged: it was cut or changed")
	}
	if !bound {
		// What begins with a binding was cut out of a text that says so: its length
		// is at most 1024, and no secret begins with such a byte.
		if len(plain) > 0 && plain[0] <= mostBinding>>8 {
			return fail("a sealed secret was sealed for another place than %q, and cut: seal it anew where it belongs", binding)
		}
		return New(string(plain)), nil
	}
	if len(plain) < 2 {
		return fail("a sealed secret is damaged: it is too short")
	}
	n := int(binary.BigEndian.Uint16(plain))
	if len(plain) < 2+n || subtle.ConstantTimeCompare(plain[2:2+n], []byte(binding)) == 0 {
		return fail("a sealed secret was sealed for another place than %q: somebody has moved it; seal it anew where it belongs", binding)
	}
	return New(string(plain[2+n:])), nil
}

// Reseal seals a text anew with the present key; same is true where it is
// sealed with that already.
func (s *Sealer) Reseal(sealed, binding string) (next string, same bool, err error) {
	if SealedWith(sealed) == s.KeyID() {
		return sealed, true, nil
	}
	v, err := s.Open(sealed, binding)
	if err != nil {
		return "", false, err
	}
	next, err = s.Seal(v, binding)
	return next, false, err
}
