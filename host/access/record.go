package access

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// LocalAdministrator signs in with a name and a password, and may all.
type LocalAdministrator struct {
	Id   string `json:"id" bun:",pk"`
	Name string `json:"name"`
	// Password is its hash, with what it was made with.
	Password string `json:"-"`
	// TOTP is the secret of one-time codes, sealed with the password; empty for
	// none. TOTPUsed is the time step of the last code, which is not taken again.
	TOTP     string `json:"-" bun:"totp"`
	TOTPUsed int64  `json:"-" bun:"totp_used"`
	// Recovery are digests of codes that each stand in for a one-time code, once.
	Recovery    []string   `json:"-" bun:"type:json"`
	CreatedBy   string     `json:"createdBy"`
	CreatedDate time.Time  `json:"createdDate"`
	LastDate    *time.Time `json:"lastDate,omitempty" doc:"Of the last sign-in"`
}

// Identity is who a person is, as the sign-in said.
type Identity struct {
	// AdministratorId is of a local administrator; for others it is empty, and
	// Issuer and Subject are who an OpenID provider says it is.
	AdministratorId string `json:"administratorId,omitempty"`
	Issuer          string `json:"issuer,omitempty"`
	Subject         string `json:"subject,omitempty"`
	// UserId is of the user that the person is, or empty.
	UserId string `json:"userId,omitempty"`
	// Groups are those that the provider said at the last sign-in.
	Groups []string `json:"groups,omitempty" bun:"type:json"`
}

// IsSet tells whether it is anybody's.
func (i Identity) IsSet() bool { return i.AdministratorId != "" || i.Subject != "" }

// APIToken lets a program ask, until it expires. One of a person may what it was
// made for and that person may when it is used, and asks in that person's name.
type APIToken struct {
	Id   string `json:"id" bun:",pk"`
	Name string `json:"name"`
	// Identity is whose it is; nobody's where it was made for the host.
	Identity
	// ToldDate is when the provider last said the groups of whose it is.
	ToldDate *time.Time `json:"-"`
	// ParentId is the token that it was made with, and ends with; empty for none.
	ParentId string `json:"parentId,omitempty" doc:"Of the token that it was made with, and ends with"`
	// SessionId is of the session that it, or the token that it was made with, was
	// made in; empty for none.
	SessionId string `json:"-"`
	// Prefix is the part of the token that it is found by, and known by to people.
	Prefix string `json:"prefix"`
	// Digest is the SHA-256, in hex, of the rest.
	Digest      string     `json:"-"`
	Rights      []Right    `json:"rights" bun:"type:json"`
	CreatedBy   string     `json:"createdBy"`
	CreatedDate time.Time  `json:"createdDate"`
	ExpiresDate time.Time  `json:"expiresDate"`
	LastDate    *time.Time `json:"lastDate,omitempty" doc:"Of the last use, to the minute"`
}

// Session is a person who has signed in, at one browser, which has a handle and
// a secret. The secret changes while the session lasts: one that was given up
// and comes back was stolen, or the next was.
type Session struct {
	Id string `json:"id" bun:",pk"`
	// Handle and Digest are the SHA-256, in hex, of what the browser has: of what
	// stays, and of what changes. Former is the Digest before it; Seed makes the
	// secret of now out of the one before.
	Handle string `json:"-"`
	Digest string `json:"-"`
	Former string `json:"-"`
	Seed   string `json:"-"`
	// RenewedDate is when the secret last changed, SeenDate when the browser first
	// used it; nil until then.
	RenewedDate time.Time  `json:"-"`
	SeenDate    *time.Time `json:"-"`
	// Might is a digest of what the person might do then.
	Might string `json:"-"`
	Identity
	// Name is what the person signed in as.
	Name        string    `json:"name"`
	CreatedDate time.Time `json:"createdDate"`
	LastDate    time.Time `json:"lastDate" doc:"When it was last used, to the minute"`
	ExpiresDate time.Time `json:"expiresDate"`
}

// Guesses are the attempts that failed under one key, of all machines.
type Guesses struct {
	Key      string `bun:",pk"`
	Failures int
	// UntilDate is the end of the wait.
	UntilDate, LastDate time.Time
}

// Assignment gives a role to those that it names in one way.
type Assignment struct {
	Id   string   `json:"id,omitempty" bun:",pk"`
	Role string   `json:"role"`
	Apps []string `json:"apps,omitempty" bun:"type:json" doc:"Only for these apps; an app owner has some"`
	// User is a user's id, Group a group of the configuration, OIDCGroup one that
	// the OpenID provider tells of. One of them is set.
	User        string    `json:"user,omitempty" bun:"user_id"`
	Group       string    `json:"group,omitempty" bun:"group_name"`
	OIDCGroup   string    `json:"oidcGroup,omitempty" bun:"oidc_group"`
	CreatedBy   string    `json:"createdBy,omitempty"`
	CreatedDate time.Time `json:"createdDate,omitzero"`
	// Declared: it stands in the configuration, and is changed there.
	Declared bool `json:"declared,omitempty" bun:"-"`
}

// Device is a browser that an administrator has signed in at: failures of
// others do not slow it down.
type Device struct {
	Digest          string `bun:",pk"`
	AdministratorId string
	ExpiresDate     time.Time
}

// digest is how a secret of 256 random bits is stored.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
