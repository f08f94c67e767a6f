package access

import (
	"slices"

	"github.com/provosthq/provost/host"
)

// Cheap makes passwords less work, and its limits small.
func (g *Gate) Cheap() { g.hasher = newHasher(effort{memory: 64, time: 1, threads: 1}) }

// Remembered counts what the throttle remembers.
func (g *Gate) Remembered() int { return len(g.throttle.keys) }

// MostRemembered is the bound of it.
func (g *Gate) MostRemembered() int { return g.throttle.most }

// Holds tells whether a user has a role by an assignment.
func Holds(u *host.User, a *Assignment) bool {
	return slices.ContainsFunc(rightsOf(u, nil, nil, []*Assignment{a}), func(r Right) bool { return r.Role == a.Role })
}
