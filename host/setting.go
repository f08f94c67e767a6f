package host

import "time"

// Setting is an entry of the configuration that stands in the database: what
// the API or the console has made. All machines of one database have it.
type Setting struct {
	// List is apps, credentials or plugins; Name is the entry's.
	List string `bun:",pk"`
	Name string `bun:",pk"`
	// Document is JSON, with its secrets sealed.
	Document string
	// Revision grows with every change of any setting.
	Revision    int64
	Actor       string
	ChangedDate time.Time
}

// ConnectorModule is the module of a connector that was uploaded.
type ConnectorModule struct {
	// Digest is the SHA-256 of Module in hex.
	Digest string `bun:",pk"`
	Module []byte
	// Signature is a minisign signature; "" for none.
	Signature   string
	Actor       string
	CreatedDate time.Time
}
