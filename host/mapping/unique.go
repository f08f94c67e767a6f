package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// A name that must be unique is chosen when the account is made: only then can
// the target be asked. Until then a mark stands for it, which is no text, so
// that nothing can be found by it or compared with it.
const (
	markBase   = "$unique"
	markSuffix = "$suffix"
)

func unique(args ...any) (any, error) {
	base, suffix := strings.TrimSpace(args[0].(string)), ""
	if len(args) > 1 {
		suffix = args[1].(string)
	}
	if base == "" {
		return nil, fmt.Errorf("unique has nothing to begin with")
	}
	mark := map[string]any{markBase: base}
	if suffix != "" {
		mark[markSuffix] = suffix
	}
	return mark, nil
}

// Mark tells whether a value stands for a name that is not chosen yet, and
// which names may be: the nth is from 1.
func Mark(value any) (nth func(n int) string, ok bool) {
	m, is := value.(map[string]any)
	base, hasBase := m[markBase].(string)
	suffix, hasSuffix := m[markSuffix].(string)
	if !is || !hasBase || len(m) > 2 || len(m) == 2 && !hasSuffix {
		return nil, false
	}
	return func(n int) string {
		if n < 2 {
			return base + suffix
		}
		return base + strconv.Itoa(n) + suffix
	}, true
}

// mostNames is how many names are tried for one account.
const mostNames = 1000

// Resolve chooses the names that attributes only have marks for: the first of
// each that is not taken. Without marks it returns the attributes as they are,
// and chosen is empty; else a copy, and the paths that were chosen.
func (m *Mapping) Resolve(attributes map[string]any, taken func(path, name string) (bool, error)) (out map[string]any, chosen []string, err error) {
	out = attributes
	for _, r := range m.rules {
		value, _ := pdk.GetPath(attributes, r.path)
		nth, ok := Mark(value)
		if !ok {
			continue
		}
		name := ""
		for n := 1; name == ""; n++ {
			if n > mostNames {
				return nil, nil, host.Errorf(host.AlreadyExists, "%s: %s and %d names like it are taken", r.path, nth(1), mostNames-1)
			}
			is, err := taken(r.path, nth(n))
			if err != nil {
				return nil, nil, err
			}
			if !is {
				name = nth(n)
			}
		}
		if len(chosen) == 0 {
			out = clone(attributes).(map[string]any)
		}
		pdk.SetPath(out, r.path, name)
		chosen = append(chosen, r.path)
	}
	return out, chosen, nil
}

// Unresolve is the reverse: names of a user that were chosen become marks
// again. ok is false where the mapping has no such names.
func (m *Mapping) Unresolve(attributes map[string]any, u *host.User) (out map[string]any, ok bool, err error) {
	for _, r := range m.rules {
		if r.kind != named {
			continue
		}
		v, err := r.value(map[string]any{"user": userEnv(u)})
		if err != nil {
			return nil, false, r.failed(u, err)
		}
		if !ok {
			out, ok = clone(attributes).(map[string]any), true
		}
		pdk.SetPath(out, r.path, v)
	}
	return out, ok, nil
}

// Nameless is what an account can be found by that has another name: the
// attributes without names that are chosen, or are yet to be.
func (m *Mapping) Nameless(attributes map[string]any) map[string]any {
	if !slices.ContainsFunc(m.rules, func(r rule) bool { return r.kind == named }) {
		return attributes
	}
	out := clone(attributes).(map[string]any)
	for _, r := range m.rules {
		if r.kind == named {
			remove(out, r.path)
		}
	}
	return out
}

// Known is the attributes without marks.
func (m *Mapping) Known(attributes map[string]any) map[string]any {
	out, copied := attributes, false
	for _, r := range m.rules {
		value, _ := pdk.GetPath(attributes, r.path)
		if _, ok := Mark(value); !ok {
			continue
		}
		if !copied {
			out, copied = clone(attributes).(map[string]any), true
		}
		remove(out, r.path)
	}
	return out
}
