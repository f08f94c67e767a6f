package artifact

import (
	"errors"

	"aead.dev/minisign"

	"github.com/provosthq/provost/host"
)

// PrivateKey signs modules.
type PrivateKey = minisign.PrivateKey

// GenerateKey makes a pair and returns the text of the two files, as minisign
// writes them. The private one is sealed with the password, unless that is "".
// Sealing takes a second and 1 GiB of memory, which is what makes guessing dear.
func GenerateKey(password string) (public, private []byte, err error) {
	pub, key, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, nil, host.Errorf(host.Internal, "make a key: %w", err)
	}
	if password == "" {
		private, err = key.MarshalText()
	} else {
		private, err = minisign.EncryptKey(password, key)
	}
	if err == nil {
		public, err = pub.MarshalText()
	}
	if err != nil {
		return nil, nil, host.Errorf(host.Internal, "write a key: %w", err)
	}
	return append(public, '\n'), append(private, '\n'), nil
}

// IsSealed tells whether a private key needs a password.
func IsSealed(private []byte) bool {
	return len(private) <= mostKey && minisign.IsEncrypted(private)
}

// OpenKey reads a private key, with its password where it has one. It is
// Unauthorized for a password that does not open it.
func OpenKey(private []byte, password string) (key PrivateKey, err error) {
	if IsSealed(private) {
		if key, err = minisign.DecryptKey(password, private); err != nil {
			return key, host.Errorf(host.Unauthorized, "the key does not open with this password, or its file is damaged")
		}
		return key, nil
	}
	err = errors.New("too long")
	if len(private) <= mostKey {
		err = key.UnmarshalText(private)
	}
	if err != nil {
		return key, host.Errorf(host.InvalidInput, "it is no minisign private key (provost plugin keygen makes one)")
	}
	return key, nil
}

// PublicOf is the public key of a private one.
func PublicOf(key PrivateKey) PublicKey { return key.Public().(PublicKey) }
