// Package testdata holds what the demo and the tests share.
package testdata

import _ "embed" // for People

// People is people.csv: 220 invented people with umlauts, apostrophes, CJK,
// long names and names that are the same.
//
//go:embed people.csv
var People []byte
