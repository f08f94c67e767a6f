package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/plugins/scim/scimtarget"
	"github.com/provosthq/provost/plugins/scim/scimtarget/chaos"
)

// target is one in trouble that listens, with clients that keep no connection,
// so that none asks again by itself.
type target struct {
	*chaos.Target
	t      *testing.T
	url    string
	behind *scimtarget.Target
	slept  []time.Duration
}

func newTarget(t *testing.T) *target {
	behind, err := scimtarget.New(scimtarget.Options{MaxResults: 1000})
	require.NoError(t, err)
	w := &target{t: t, behind: behind}
	w.Target = chaos.New(chaos.Options{Behind: behind, Sleep: func(_ context.Context, d time.Duration) { w.slept = append(w.slept, d) }})
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// ask returns the status, 0 where the connection was cut, and what came.
func (w *target) ask(method, path, body string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w.t, err)
	r.Close = true
	r.Header.Set("Content-Type", "application/scim+json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, string(b)
	}
	return answer.StatusCode, string(b)
}

func (w *target) create(name string) (int, string) {
	return w.ask("POST", "/Users", fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":%q,"externalId":"of-%s"}`, name, name))
}

func TestAFaultStrikesItsCallBeforeOrAfterTheTargetActed(t *testing.T) {
	w := newTarget(t)
	w.Inject(
		chaos.Fault{Operation: chaos.Create, Subject: "before", Kind: chaos.Cut},
		chaos.Fault{Operation: chaos.Create, Subject: "after", Kind: chaos.Cut, After: true},
		chaos.Fault{Operation: chaos.Create, Subject: "half", Kind: chaos.CutBody},
		chaos.Fault{Operation: chaos.Create, Subject: "refused", Kind: chaos.Answer, Status: 429, RetryAfter: 7, Times: 2},
		chaos.Fault{Operation: chaos.Create, Subject: "page", Kind: chaos.Garbage, After: true},
		chaos.Fault{Operation: chaos.Create, Subject: "slow", Kind: chaos.Delay, Delay: time.Hour},
		chaos.Fault{Operation: chaos.Delete, Subject: "never", Kind: chaos.Cut},
	)
	for name, want := range map[string]struct {
		status, made int
	}{"before": {0, 0}, "after": {0, 1}, "half": {0, 1}, "refused": {429, 0}, "page": {200, 1}, "slow": {201, 1}, "other": {201, 1}} {
		status, _ := w.create(name)
		require.Equal(t, want.status, status, name)
		require.Equal(t, want.made, w.Done(chaos.Create, name), name)
	}
	status, _ := w.create("refused")
	require.Equal(t, 429, status)
	for _, name := range []string{"before", "refused"} {
		status, _ = w.create(name)
		require.Equal(t, 201, status, "%s: the schedule is over", name)
	}
	require.Equal(t, []time.Duration{time.Hour}, w.slept)
	require.Len(t, w.Injected(), 7)
	require.Equal(t, []string{"cut of delete never page 0 (0 of 1)"}, w.Missed())
	require.Equal(t, 3, w.Calls(chaos.Create, "refused"))
}

func TestAnAccountStaysTheSameSubjectByIdAndFilterAndNewName(t *testing.T) {
	w := newTarget(t)
	_, body := w.create("ada")
	var account struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(body), &account))
	patch := func(path, value string) {
		status, text := w.ask("PATCH", "/Users/"+account.ID, fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"replace","path":%q,"value":%s}]}`, path, value))
		require.Equal(t, 200, status, text)
	}
	patch("userName", `"lovelace"`)
	patch("active", "false")
	patch("active", "true")
	w.ask("GET", "/Users/"+account.ID, "")
	w.ask("GET", "/Users?filter=externalId+eq+%22of-ada%22", "")
	w.ask("GET", "/Users?startIndex=11&count=10", "")
	w.ask("GET", "/ServiceProviderConfig", "")
	status, _ := w.ask("DELETE", "/Users/"+account.ID, "")
	require.Equal(t, 204, status)
	for _, op := range []chaos.Operation{chaos.Create, chaos.Update, chaos.Deactivate, chaos.Activate, chaos.Delete} {
		require.Equal(t, 1, w.Done(op, "ada"), op)
	}
	for _, op := range []chaos.Operation{chaos.Read, chaos.Search} {
		require.Equal(t, 1, w.Calls(op, "ada"), op)
		require.Zero(t, w.Done(op, "ada"), op)
	}
	require.Equal(t, 1, w.Calls(chaos.List, ""))
	require.Equal(t, 1, w.Calls(chaos.Config, ""))
}

func TestWrongPagesAreWrongInTheirWay(t *testing.T) {
	w := newTarget(t)
	for i := range 30 {
		_, err := w.behind.Add(map[string]any{"userName": fmt.Sprintf("p%02d", i)})
		require.NoError(t, err)
	}
	page := func(start int) (names []string, total, index int) {
		_, body := w.ask("GET", fmt.Sprintf("/Users?startIndex=%d&count=10", start), "")
		var doc struct {
			TotalResults, StartIndex int
			Resources                []struct{ UserName string }
		}
		require.NoError(t, json.Unmarshal([]byte(body), &doc))
		for _, r := range doc.Resources {
			names = append(names, r.UserName)
		}
		return names, doc.TotalResults, doc.StartIndex
	}
	right, total, _ := page(11)
	require.Equal(t, []any{"p10", 30}, []any{right[0], total})
	attempt := 1
	wrong := func(k chaos.Kind, change func()) ([]string, int, int) {
		attempt++
		w.Inject(chaos.Fault{Operation: chaos.List, Page: 2, Attempt: attempt, Kind: k, Change: change})
		return page(11)
	}
	names, total, _ := wrong(chaos.Empty, nil)
	require.Empty(t, names)
	require.Equal(t, 30, total)
	names, _, index := wrong(chaos.Overlap, nil)
	require.Equal(t, []any{"p07", 10, 11}, []any{names[0], len(names), index})
	names, total, _ = wrong(chaos.Shrink, nil)
	require.Equal(t, []any{10, 20}, []any{len(names), total})
	names, _, index = wrong(chaos.Repeat, nil)
	require.Equal(t, []any{"p00", 1}, []any{names[0], index})
	names, _, _ = wrong(chaos.Duplicate, nil)
	require.Len(t, names, 20)
	require.Len(t, slices.Compact(names), 10)
	names, total, _ = wrong(chaos.Drift, func() { w.behind.Remove(w.behind.Accounts()[0].ID) })
	require.Equal(t, []any{"p11", 29}, []any{names[0], total})
	require.Empty(t, w.Missed())
}

func TestAStormIsTheSameInWhateverOrderCallsCome(t *testing.T) {
	storm := chaos.Storm{Seed: 7, Share: 0.4, Attempts: 2, Faults: []chaos.Fault{{Kind: chaos.Cut}, {Kind: chaos.Cut, After: true}, {Kind: chaos.Answer, Status: 503}, {Operation: chaos.Delete, Kind: chaos.Garbage}}}
	blow := func(shuffle uint64) map[chaos.Injection]bool {
		w := newTarget(t)
		w.Rage(&storm)
		names := make([]string, 40)
		for i := range names {
			names[i] = fmt.Sprintf("p%d", i)
		}
		rand.New(rand.NewPCG(shuffle, 0)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for range 3 {
			for _, name := range names {
				w.create(name)
			}
		}
		for _, name := range names {
			require.Equal(t, 1, w.Done(chaos.Create, name))
		}
		struck := map[chaos.Injection]bool{}
		for _, i := range w.Injected() {
			require.LessOrEqual(t, i.Call.Attempt, 2)
			require.NotEqual(t, chaos.Garbage, i.Kind, "a fault of deletes")
			struck[i] = true
		}
		return struck
	}
	first := blow(1)
	require.Greater(t, len(first), 15)
	require.Equal(t, first, blow(2))
}

func TestATargetMayGiveATakenNameASuffix(t *testing.T) {
	w := newTarget(t)
	w.Suffix(true)
	for _, want := range []string{"ada", "ada2", "ada3"} {
		status, body := w.create("ada")
		require.Equal(t, 201, status)
		require.Contains(t, body, fmt.Sprintf("%q", want))
	}
	require.Equal(t, 3, w.Done(chaos.Create, "ada"))
	w.Suffix(false)
	status, _ := w.create("ada")
	require.Equal(t, 409, status)
}
