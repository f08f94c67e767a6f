package console

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryPageHasOneRule(t *testing.T) {
	var ruled []string
	for _, r := range Rules {
		ruled = append(ruled, r.Route)
	}
	slices.Sort(ruled)
	require.Equal(t, slices.Sorted(maps.Keys(new(console).pages())), ruled, "a page needs its rule in rules.go, and a rule its page")
}
