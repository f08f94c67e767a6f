package host

import (
	"slices"
	"strings"
	"time"
)

// AuthorizationState says whether a named credential may be used as somebody.
type AuthorizationState string

// The states. A credential that nobody has authorized yet has none.
const (
	Authorized AuthorizationState = "Authorized"
	// AuthorizeAgain: the target takes the tokens no longer, or nobody knows
	// which it takes; a person must authorize again.
	AuthorizeAgain AuthorizationState = "Authorize Again"
	// AuthorizationRevoked: a person took it back.
	AuthorizationRevoked AuthorizationState = "Revoked"
)

// Authorization is what signing in has yielded for a named credential: the
// tokens of its named principal or, where the credential is per user, of one
// user. All machines share it. The tokens are sealed.
type Authorization struct {
	Credential string             `json:"Credential" bun:",pk"`
	UserId     string             `json:"UserId,omitempty" bun:",pk"`
	State      AuthorizationState `json:"State"`
	// Reason is why it is not Authorized any more.
	Reason string `json:"Reason,omitempty"`
	// Principal is who signed in, as far as the target told.
	Principal string   `json:"Principal,omitempty"`
	Scopes    []string `json:"Scopes,omitempty" bun:"type:json"`
	// Client is a digest of what it was given to: with another client or another
	// token endpoint it is worth nothing.
	Client string `json:"-"`
	// Sealed are the tokens, SealedWith the key that they are sealed with.
	Sealed     string `json:"-"`
	SealedWith string `json:"-"`
	// ExpiresDate is the end of the present token, nil for one without.
	ExpiresDate *time.Time `json:"ExpiresDate,omitempty"`
	// Generation counts the tokens that there have been.
	Generation  int64      `json:"Generation"`
	GrantedBy   string     `json:"GrantedBy,omitempty"`
	GrantedDate *time.Time `json:"GrantedDate,omitempty"`
	// RefreshedDate is when the present token came.
	RefreshedDate *time.Time `json:"RefreshedDate,omitempty"`
	// LeaseHolder fetches the next token, and nobody else may until LeaseUntil. One
	// whose time is over has died at it.
	LeaseHolder string     `json:"-"`
	LeaseUntil  *time.Time `json:"-"`
}

// Usable tells whether requests can be signed in with it: it is authorized, or
// its last token is still good.
func (a *Authorization) Usable(now time.Time) bool {
	return a.State == Authorized || a.State == AuthorizeAgain && a.Sealed != "" && a.ExpiresDate != nil && now.Before(*a.ExpiresDate)
}

// Wants is what a person must do before requests can be signed in, "" for
// nothing.
func (a *Authorization) Wants(now time.Time) string {
	command := "provost credential authorize " + a.Credential
	if a.UserId != "" {
		command += " --user " + a.UserId
	}
	switch {
	case a.Usable(now):
		return ""
	case a.State == AuthorizeAgain:
		return a.Credential + " must be authorized again: " + a.Reason + "   -> " + command
	case a.State == AuthorizationRevoked:
		return a.Credential + " was revoked: " + a.Reason + "   -> " + command
	default:
		return a.Credential + " is not authorized yet   -> " + command
	}
}

// AuthorizationRequest is an authorization that a person has begun in a browser
// and not ended: what comes back with its state is taken once.
type AuthorizationRequest struct {
	// Id is the digest of the state that went to the authorization server.
	Id          string `bun:",pk"`
	Credential  string
	UserId      string
	Sealed      string // what belongs to it and is nobody else's to know
	Actor       string
	CreatedDate time.Time
	ExpiresDate time.Time
}

// LeaseOfRestored holds the leases of authorizations in a database that was
// restored from a backup: their tokens may have been exchanged since.
const LeaseOfRestored = "restored"

const authorizationTarget = "authorization:"

// AuthorizationTarget is what a request waits for that needs an authorization
// of a named credential, of one user where userID is given.
func AuthorizationTarget(credential, userID string) string {
	if userID == "" {
		return authorizationTarget + credential
	}
	return authorizationTarget + credential + "/" + userID
}

// AuthorizationOfTarget is the reverse of [AuthorizationTarget].
func AuthorizationOfTarget(name string) (credential, userID string, ok bool) {
	rest, ok := strings.CutPrefix(name, authorizationTarget)
	if !ok {
		return "", "", false
	}
	credential, userID, _ = strings.Cut(rest, "/")
	return credential, userID, true
}

// Unauthorized is the name of what the last request of a call waited for that
// had no authorization; "" for none.
func (t *CallTrace) Unauthorized() string {
	for _, c := range slices.Backward(t.Callouts) {
		if c.WaitsFor != "" {
			return c.WaitsFor
		}
	}
	return ""
}
