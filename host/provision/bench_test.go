package provision_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/provosthq/provost/host/provision"
	"github.com/provosthq/provost/host/store/storetest"
)

// BenchmarkImport takes in new users that are assigned an app; BenchmarkWork
// works off their creates against a target that costs nothing.
func BenchmarkImport(b *testing.B) { benchmark(b, false) }
func BenchmarkWork(b *testing.B)   { benchmark(b, true) }

func benchmark(b *testing.B, work bool) {
	storetest.Bench(b, func(b *testing.B, url string) {
		w := newWorld(b, url)
		w.app("acme")
		var rows strings.Builder
		rows.WriteString("Username,FirstName,LastName,Email\n")
		for i := range b.N {
			fmt.Fprintf(&rows, "p%d,Ada,Lovelace,p%d@example.com\n", i, i)
		}
		if !work {
			b.ResetTimer()
		}
		if _, err := w.engine.Import(b.Context(), strings.NewReader(rows.String()), provision.ImportOptions{Name: "people.csv", Format: "csv", Assign: []string{"acme"}}); err != nil {
			b.Fatal(err)
		}
		if work {
			b.ResetTimer()
			w.run()
		}
	})
}
