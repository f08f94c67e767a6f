package artifact

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"aead.dev/minisign"

	"github.com/provosthq/provost/host"
)

// PublicKey verifies what its owner signed.
type PublicKey = minisign.PublicKey

// mostSignature and mostKey bound the files, in bytes.
const (
	mostSignature = 8 << 10
	mostKey       = 4 << 10
)

// Signature says who signed a module, and as what.
type Signature struct {
	// Signer is the name under which the key is known here, KeyID the key's own.
	Signer, KeyID string
	// Name and Version are those of the connector that was signed.
	Name, Version string
	// Wishes is [Wishes.Digest] of what was signed with it, "" for none.
	Wishes string
	// SignedAt is when, by the signer's clock; zero where it does not say.
	SignedAt time.Time
}

// Agrees is an error where a module that says this of itself is not the one that
// the signature is for.
func (s *Signature) Agrees(name, version string) error {
	if s == nil || s.Name == name && s.Version == version {
		return nil
	}
	return host.Errorf(host.PermissionDenied, "it describes itself as %s %s, but %s signed it as %s %s: it is not what was meant to be signed; ask for another signature",
		name, version, s.Signer, s.Name, s.Version)
}

// ParsePublicKey reads a minisign public key: the line that begins with RW, or
// the file with the comment above it.
func ParsePublicKey(text string) (key PublicKey, err error) {
	if len(text) > mostKey {
		return key, fmt.Errorf("has %d bytes; a minisign public key has some 100", len(text))
	}
	if err := key.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return key, errors.New("is no minisign public key; write the line that begins with RW (provost plugin keygen makes one)")
	}
	return key, nil
}

// KeyID is a key's own id as minisign shows it.
func KeyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// comment is the trusted comment: what is signed beside the module's bytes.
// Tabs part its fields, as in minisign's own.
type comment struct {
	name, version, wishes string
	at                    time.Time
}

func (c comment) String() string {
	parts := []string{"timestamp:" + strconv.FormatInt(c.at.Unix(), 10), "name:" + c.name, "version:" + c.version}
	if c.wishes != "" {
		parts = append(parts, "manifest:"+c.wishes)
	}
	return strings.Join(parts, "\t")
}

// parseComment reads what it knows and leaves the rest; a field that is there
// twice would mean two things to two readers.
func parseComment(text string) (c comment, err error) {
	seen := map[string]bool{}
	for _, part := range strings.Split(text, "\t") {
		key, value, _ := strings.Cut(part, ":")
		if seen[key] {
			return comment{}, fmt.Errorf("its trusted comment has %s twice", strconv.Quote(key))
		}
		seen[key] = true
		switch key {
		case "name":
			c.name = value
		case "version":
			c.version = value
		case "manifest":
			c.wishes = value
		case "timestamp":
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil || seconds < 0 || seconds > 1<<40 {
				return comment{}, fmt.Errorf("its trusted comment has the time %s, which is none", strconv.Quote(value))
			}
			c.at = time.Unix(seconds, 0).UTC()
		}
	}
	if c.name == "" || c.version == "" {
		return comment{}, errors.New("its trusted comment does not say which connector and version was signed (name:… and version:…, parted by a tab); sign it with provost plugin sign")
	}
	return c, nil
}

// Sign signs a module under the name and version that it describes itself with.
// The wishes are those of its manifest, zero for none.
func Sign(key minisign.PrivateKey, wasm []byte, name, version string, wishes Wishes, at time.Time) ([]byte, error) {
	for what, text := range map[string]string{"name": name, "version": version} {
		if text == "" || len(text) > 200 || strings.ContainsFunc(text, unicode.IsControl) {
			return nil, host.Errorf(host.InvalidInput, "the connector's %s is %q; what is signed needs one of at most 200 letters without control characters", what, text)
		}
	}
	c := comment{name, version, wishes.Digest(), at}
	return minisign.SignWithComments(key, wasm, c.String(), "signature of "+name+" "+version+" with key "+KeyID(key.ID())), nil
}

// verify finds the first signature of somebody who counts and puts it first; if
// there is none, it says why of the last that it looked at.
func verify(a Artifact, signatures [][]byte, o Options) (*Signature, [][]byte, string) {
	if len(signatures) == 0 {
		where := "sign it with provost plugin sign"
		if a.SignaturePath != "" {
			where = "put the signature into " + a.SignaturePath
		}
		return nil, nil, "is not signed; " + where + ", or write unsigned: true for this plugin"
	}
	why := ""
	for i, text := range signatures {
		s, err := verifyOne(a.Wasm, text, o)
		if err == nil {
			others := slices.Delete(slices.Clone(signatures), i, i+1)
			return &s, slices.Insert(others, 0, text), ""
		}
		why = err.Error()
	}
	return nil, signatures, why
}

func verifyOne(wasm, text []byte, o Options) (Signature, error) {
	var sig minisign.Signature
	if len(text) > mostSignature {
		return Signature{}, fmt.Errorf("its signature has %d bytes; one has some 300", len(text))
	}
	if err := sig.UnmarshalText(text); err != nil {
		return Signature{}, errors.New("its signature is no minisign signature; make it anew with provost plugin sign")
	}
	id := KeyID(sig.KeyID)
	var known []string
	for _, one := range o.Signers {
		known = append(known, one.Name+" ("+KeyID(one.Key.ID())+")")
		if one.Key.ID() != sig.KeyID {
			continue
		}
		// Ids are chosen by whoever makes a key: only the signature tells.
		if !minisign.Verify(one.Key, wasm, text) {
			return Signature{}, fmt.Errorf("its signature with the key %s of %s does not fit: the file with SHA-256 %s was changed after it was signed, or the signature is of another; get both anew from %s", id, one.Name, digestOf(wasm), one.Name)
		}
		if len(o.Accepted) > 0 && !slices.Contains(o.Accepted, one.Name) {
			return Signature{}, fmt.Errorf("is signed by %s, but only %s count for this plugin (signers)", one.Name, strings.Join(o.Accepted, ", "))
		}
		c, err := parseComment(sig.TrustedComment)
		if err != nil {
			return Signature{}, fmt.Errorf("is signed by %s, but %w", one.Name, err)
		}
		return Signature{Signer: one.Name, KeyID: id, Name: c.name, Version: c.version, Wishes: c.wishes, SignedAt: c.at}, nil
	}
	if len(known) == 0 {
		return Signature{}, fmt.Errorf("is signed with the key %s, and no signers are known here; name its owner under signers if you trust him", id)
	}
	return Signature{}, fmt.Errorf("is signed with the key %s, which is none of those that are known: %s; name its owner under signers if you trust him", id, strings.Join(known, ", "))
}

// checkWishes refuses a manifest that is not the one that was signed. One that
// the signature does not cover is the operator's own where it is local or pinned,
// else anybody's who can write to the registry.
func checkWishes(a Artifact, own bool) error {
	switch s := a.Signature; {
	case s == nil:
		return nil
	case s.Wishes != "" && s.Wishes != a.Wishes.Digest():
		return host.Errorf(host.PermissionDenied, "%s: its manifest is not the one that %s signed with it; get both anew, and put what you want otherwise into the configuration (settings, limits, hosts)", a.Source, s.Signer)
	case s.Wishes == "" && !a.Wishes.IsZero() && !own:
		return host.Errorf(host.PermissionDenied, "%s: the signature of %s does not cover its manifest; pin it with @sha256:…, or ask for a signature of both (provost plugin sign of the folder or the manifest)", a.Source, s.Signer)
	}
	return nil
}
