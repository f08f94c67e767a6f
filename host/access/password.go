package access

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/provosthq/provost/host"
)

const (
	// ShortestPassword is in characters, LongestPassword in bytes.
	ShortestPassword = 12
	LongestPassword  = 1024
	// patience is how long a sign-in waits for its turn to be worked out.
	patience = 10 * time.Second
)

// effort is what a hash costs: memory in KiB, passes, threads.
type effort struct {
	memory, time uint32
	threads      uint8
}

// usual is above what OWASP's Password Storage Cheat Sheet asks for.
var usual = effort{memory: 64 << 10, time: 2, threads: 1}

// hasher works passwords out with argon2id, few at a time: each needs memory.
// Those who are known have a turn of their own, however many strangers wait.
type hasher struct {
	effort           effort
	strangers, known chan struct{}
}

func newHasher(e effort) *hasher {
	return &hasher{e, make(chan struct{}, 2), make(chan struct{}, 1)}
}

// derived is what a password is worked out to: a hash to be stored, and a key
// that never is.
type derived struct{ hash, key []byte }

func (h *hasher) derive(ctx context.Context, turns chan struct{}, password string, salt []byte, e effort) (d derived, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return d, host.Errorf(host.Unavailable, "too many sign in at once; try again")
	}
	// Keyboards write one letter in different ways.
	b := argon2.IDKey(norm.NFC.Bytes([]byte(password)), salt, e.time, e.memory, e.threads, 64)
	return derived{b[:32], b[32:]}, nil
}

// hash makes the stored form of a new password.
func (h *hasher) hash(ctx context.Context, password string) (string, derived, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it never fails
	d, err := h.derive(ctx, h.known, password, salt, h.effort)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.effort.memory, h.effort.time, h.effort.threads, b64(salt), b64(d.hash)), d, err
}

// check tells whether password is the one of the stored form. Where there is
// none it is as much work. known is whether who asks is.
func (h *hasher) check(ctx context.Context, isKnown bool, password, stored string) (bool, derived, error) {
	e, salt, want := h.effort, make([]byte, 16), make([]byte, 32)
	known := false
	if stored != "" {
		var err error
		if e, salt, want, err = parseHash(stored); err != nil {
			return false, derived{}, err
		}
		known = true
	}
	turns := h.strangers
	if isKnown {
		turns = h.known
	}
	d, err := h.derive(ctx, turns, password, salt, e)
	return err == nil && subtle.ConstantTimeCompare(d.hash, want) == 1 && known, d, err
}

func parseHash(stored string) (e effort, salt, hash []byte, err error) {
	parts := strings.Split(stored, "$")
	var version int
	if len(parts) == 6 && parts[1] == "argon2id" {
		if _, err = fmt.Sscanf(parts[2]+parts[3], "v=%dm=%d,t=%d,p=%d", &version, &e.memory, &e.time, &e.threads); err == nil && version == argon2.Version {
			if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err == nil {
				if hash, err = base64.RawStdEncoding.DecodeString(parts[5]); err == nil && len(hash) == 32 {
					return e, salt, hash, nil
				}
			}
		}
	}
	return e, nil, nil, host.Errorf(host.Internal, "a stored password can't be read; reset it: provost admin reset-password")
}

// checkNewPassword refuses what is easily guessed or too much work.
func checkNewPassword(name, password string) error {
	wrong := ""
	switch {
	case utf8.RuneCountInString(password) < ShortestPassword:
		wrong = fmt.Sprintf("has fewer than %d characters", ShortestPassword)
	case len(password) > LongestPassword:
		wrong = fmt.Sprintf("has more than %d bytes", LongestPassword)
	case !utf8.ValidString(password):
		wrong = "is no text"
	case strings.EqualFold(strings.TrimSpace(password), name), strings.Count(password, password[:1]) == len(password):
		wrong = "is too easily guessed"
	}
	if wrong == "" {
		return nil
	}
	return &host.Error{Code: host.InvalidInput, Field: "password", Message: "the password " + wrong + "; several words make a good one"}
}

// seal hides a text under a key of 32 bytes; binding is whose it is.
func seal(key []byte, text, binding string) string {
	aead := aeadOf(key)
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return base64.RawStdEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(text), []byte(binding)))
}

func unseal(key []byte, sealed, binding string) (string, error) {
	aead := aeadOf(key)
	b, err := base64.RawStdEncoding.DecodeString(sealed)
	if err == nil && len(b) > aead.NonceSize() {
		b, err = aead.Open(nil, b[:aead.NonceSize()], b[aead.NonceSize():], []byte(binding))
		if err == nil {
			return string(b), nil
		}
	}
	return "", host.Errorf(host.Internal, "the secret of one-time codes can't be read; reset it: provost admin reset-totp")
}

func aeadOf(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block is AES's
	}
	return aead
}
