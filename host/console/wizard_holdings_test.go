package console

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/host/api"
)

func TestWhoGetsAnAccountIsChosenOfWhatPeopleHave(t *testing.T) {
	list := []api.Holding{{Name: "Analysts", Users: 3}, {Name: "Nobody's"}, {Name: "Sales", Users: 9}}
	offered, more, others := offeredOf(list, []string{"Sales", "Nobody's", "Saels"})
	require.Zero(t, more, "nobody has the one that is left")
	require.Equal(t, []api.Holding{{Name: "Analysts", Users: 3}, {Name: "Sales", Users: 9}}, offered)
	require.Equal(t, []string{"Nobody's", "Saels"}, others)
	require.Contains(t, nobodyHas(list, others), "“Nobody's” and “Saels”")
	for i := range 100 {
		list = append(list, api.Holding{Name: fmt.Sprintf("P%03d", i), Users: int64(i + 10)})
	}
	offered, more, others = offeredOf(list, []string{"P000", "P099"})
	require.Equal(t, 102-mostOffered, more)
	require.Len(t, offered, mostOffered)
	require.Equal(t, []string{"P000"}, others, "what is not offered is kept")
	require.NotContains(t, nobodyHas(list, others), "P000", "somebody has it, though it is not offered")

	values := readStep(api.StepApp, url.Values{"profiles": {"Analysts", "Sales", " Saels \n\nSales"}, "enabled": {"true"}}, nil)
	require.Equal(t, []any{"Analysts", "Sales", "Saels"}, values["profiles"])
}
