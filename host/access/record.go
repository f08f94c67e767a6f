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

// APIToken lets a program ask, until it expires.
type APIToken struct {
	Id   string `json:"id" bun:",pk"`
	Name string `json:"name"`
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

// Session is a person who has signed in, at one browser.
type Session struct {
	Id string `json:"id" bun:",pk"`
	// Digest is the SHA-256, in hex, of what the browser has.
	Digest string `json:"-"`
	// AdministratorId is of a local administrator; for others it is empty, and
	// Issuer and Subject are who an OpenID provider says it is.
	AdministratorId string `json:"administratorId,omitempty"`
	Issuer          string `json:"issuer,omitempty"`
	Subject         string `json:"subject,omitempty"`
	// Name is what the person signed in as; UserId the user that it is, or empty.
	Name   string `json:"name"`
	UserId string `json:"userId,omitempty"`
	// Groups are those that the provider said at the sign-in.
	Groups      []string  `json:"groups,omitempty" bun:"type:json"`
	CreatedDate time.Time `json:"createdDate"`
	LastDate    time.Time `json:"lastDate" doc:"When it was last used, to the minute"`
	ExpiresDate time.Time `json:"expiresDate"`
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
