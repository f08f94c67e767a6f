package console

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
)

func TestEveryPageHasOneRule(t *testing.T) {
	var ruled []string
	for _, r := range Rules {
		ruled = append(ruled, r.Route)
	}
	slices.Sort(ruled)
	require.Equal(t, slices.Sorted(maps.Keys((&console{Options: Options{Service: struct{ api.Service }{}}}).pages())), ruled, "a page needs its rule in rules.go, and a rule its page")
}
