package mapping

import (
	"fmt"
	"strconv"
	"strings"
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
	return map[string]any{markBase: base, markSuffix: suffix}, nil
}

// Mark tells whether a value stands for a name that is not chosen yet, and
// which names may be: the nth is from 1.
func Mark(value any) (nth func(n int) string, ok bool) {
	m, is := value.(map[string]any)
	if !is || len(m) != 2 {
		return nil, false
	}
	base, hasBase := m[markBase].(string)
	suffix, hasSuffix := m[markSuffix].(string)
	if !hasBase || !hasSuffix {
		return nil, false
	}
	return func(n int) string {
		if n < 2 {
			return base + suffix
		}
		return base + strconv.Itoa(n) + suffix
	}, true
}
