package host

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ConnectorVersion is one build of a connector that has served, or may: a
// build is known by the digest of its module.
type ConnectorVersion struct {
	// Connector is the name in the configuration, Digest the SHA-256 of the module
	// in hex.
	Connector string `json:"Connector" bun:",pk"`
	Digest    string `json:"Digest" bun:",pk"`
	Version   string `json:"Version"`
	Vendor    string `json:"Vendor,omitempty"`
	Source    string `json:"Source"`
	// Signer is whose signature counted, "" for none.
	Signer string `json:"Signer,omitempty"`
	Size   int64  `json:"Size"`
	// Description is what the build says of itself, as JSON.
	Description string `json:"-"`
	// FirstDate and LastDate are when it first and last took over, By who brought
	// it.
	FirstDate time.Time `json:"FirstDate"`
	LastDate  time.Time `json:"LastDate"`
	By        string    `json:"By" bun:"loaded_by"`
}

// ConnectorState is what was decided about a connector beside the
// configuration. All machines go by it.
type ConnectorState struct {
	Connector string `json:"Connector" bun:",pk"`
	// RejectedDigest is the build that was taken out, "" for none. ServingDigest is
	// the one that serves in its place; "" where none does: the connector is in
	// quarantine, and its requests wait.
	RejectedDigest string     `json:"RejectedDigest,omitempty"`
	ServingDigest  string     `json:"ServingDigest,omitempty"`
	Reason         string     `json:"Reason,omitempty"`
	Actor          string     `json:"Actor,omitempty"`
	ChangedDate    *time.Time `json:"ChangedDate,omitempty"`
	// Granted is what builds of it may do; nil where nothing was decided yet.
	Granted *Reach `json:"Granted,omitempty" bun:"type:json,nullzero"`
}

// Quarantined tells whether a build was taken out with none in its place.
func (s *ConnectorState) Quarantined(digest string) bool {
	return s.RejectedDigest != "" && s.RejectedDigest == digest && s.ServingDigest == ""
}

// Reach is what a connector wants to do, or may. Limits are 0 where the
// sandbox's own do.
type Reach struct {
	Operations []string `json:"operations,omitempty"`
	// Protocols are the sign-ins of its named credentials; [AnyProtocol] is all.
	Protocols []string `json:"protocols,omitempty"`
	// Hosts are called besides the credential's endpoint, without a sign-in.
	Hosts       []string `json:"hosts,omitempty"`
	MemoryMiB   int      `json:"memoryMiB,omitempty"`
	TimeSeconds int      `json:"timeSeconds,omitempty"`
	HTTPCalls   int      `json:"httpCalls,omitempty"`
}

// AnyProtocol stands for every sign-in that there is.
const AnyProtocol = "any"

// Beyond is what r has that granted lacks.
func (r Reach) Beyond(granted Reach) Reach {
	more := Reach{Operations: without(r.Operations, granted.Operations), Hosts: without(r.Hosts, granted.Hosts)}
	if !slices.Contains(granted.Protocols, AnyProtocol) {
		more.Protocols = without(r.Protocols, granted.Protocols)
	}
	above := func(want, have int) int {
		if want > have {
			return want
		}
		return 0
	}
	more.MemoryMiB, more.TimeSeconds, more.HTTPCalls = above(r.MemoryMiB, granted.MemoryMiB), above(r.TimeSeconds, granted.TimeSeconds), above(r.HTTPCalls, granted.HTTPCalls)
	return more
}

// With is r and more together.
func (r Reach) With(more Reach) Reach {
	join := func(a, b []string) []string {
		all := slices.Concat(a, without(b, a))
		return all
	}
	return Reach{Operations: join(r.Operations, more.Operations), Protocols: join(r.Protocols, more.Protocols), Hosts: join(r.Hosts, more.Hosts),
		MemoryMiB: max(r.MemoryMiB, more.MemoryMiB), TimeSeconds: max(r.TimeSeconds, more.TimeSeconds), HTTPCalls: max(r.HTTPCalls, more.HTTPCalls)}
}

// Empty tells whether there is nothing in it.
func (r Reach) Empty() bool {
	return len(r.Operations)+len(r.Protocols)+len(r.Hosts) == 0 && r.MemoryMiB == 0 && r.TimeSeconds == 0 && r.HTTPCalls == 0
}

// String is for people: "operations delete; hosts files.example.com".
func (r Reach) String() string {
	var parts []string
	list := func(name string, words []string) {
		if len(words) > 0 {
			parts = append(parts, name+" "+strings.Join(words, ", "))
		}
	}
	list("operations", r.Operations)
	list("sign-ins", r.Protocols)
	list("hosts", r.Hosts)
	number := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	number(r.MemoryMiB, "%d MiB of memory")
	number(r.TimeSeconds, "%d s a call")
	number(r.HTTPCalls, "%d HTTP requests a call")
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

func without(list, known []string) []string {
	var out []string
	for _, w := range list {
		if !slices.Contains(known, w) && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

const connectorTarget = "connector:"

// ConnectorTarget is what a request waits for whose connector can't serve.
func ConnectorTarget(name string) string { return connectorTarget + name }

// ConnectorOfTarget is the reverse of [ConnectorTarget].
func ConnectorOfTarget(name string) (connector string, ok bool) {
	return strings.CutPrefix(name, connectorTarget)
}

type connectorBuildKey struct{}

// WithConnectorBuild asks that calls be made on one build of the connector,
// where it can be had.
func WithConnectorBuild(ctx context.Context, digest string) context.Context {
	return context.WithValue(ctx, connectorBuildKey{}, digest)
}

// ConnectorBuild is the build that [WithConnectorBuild] asks for, "" for none.
func ConnectorBuild(ctx context.Context) string {
	digest, _ := ctx.Value(connectorBuildKey{}).(string)
	return digest
}
