package config

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// Trust says which connectors are taken, besides those that are built in.
type Trust struct {
	RequireSignature bool `yaml:"require_signature" default:"true" doc:"true: only connectors that one of signers has signed, but for plugins with unsigned: true. What is built in needs none."`
}

// Signer is somebody whose signature on a connector counts. One of Key and
// KeyFile is set.
type Signer struct {
	Name    string `yaml:"name" required:"true" doc:"Lower-case letters, digits and hyphens."`
	Key     string `yaml:"key" doc:"minisign public key: the line that begins with RW; provost plugin keygen makes a pair."`
	KeyFile string `yaml:"key_file" path:"file" doc:"File with the minisign public key, in place of key."`
}

// checkSigner looks at one signer. A file of his is read where it is used.
func checkSigner(k *checker, s *Signer, key string) {
	if s.Name != "" && !slug.MatchString(s.Name) {
		k.fail(key+".name", "%q is no name; lower-case letters, digits and hyphens, a letter first", short(s.Name))
	}
	if (s.Key == "") == (s.KeyFile == "") {
		k.fail(key, "wants one of key and key_file")
		return
	}
	if s.Key != "" && !isPublicKey(s.Key) {
		k.fail(key+".key", "is no minisign public key; write the line of the public key's file that begins with RW")
	}
}

// isPublicKey tells whether text has the form of a minisign public key, with or
// without the comment line of its file.
func isPublicKey(text string) bool {
	text = strings.TrimSpace(text)
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	b, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(b) == 42 && binary.LittleEndian.Uint16(b) == 0x6445 // "Ed"
}

// checkSigners looks at what a plugin says of them.
func (c *Config) checkSigners(k *checker, p *Plugin, key string) {
	var names []string
	for _, s := range c.Signers {
		names = append(names, s.Name)
	}
	for _, name := range p.Signers {
		k.named(key+".signers", "signer", name, names)
	}
	if p.Unsigned && len(p.Signers) > 0 {
		k.fail(key+".unsigned", "is true, but signers are named too; keep one")
	}
}
