package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/pdk"
	"github.com/provosthq/provost/pdk/pdktest"
	"github.com/provosthq/provost/plugins/mock/target"
)

var ada = map[string]any{"username": "ada@example.com", "firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com", "active": true}

func TestTheContract(t *testing.T) {
	app := target.New("")
	for i := range 250 {
		require.NotEmpty(t, app.Add(target.Account{"username": fmt.Sprintf("u%d", i)}))
	}
	pdktest.Run(t, mock{}, pdktest.Handler(app), pdktest.Sample(ada))
}

func harness(t *testing.T, app http.Handler, settings map[string]any) *pdktest.Harness {
	return pdktest.New(t, mock{}, description, pdktest.Handler(app), pdktest.Settings(settings))
}

func TestUpdateChangesOnlyWhatIsNamed(t *testing.T) {
	app := target.New("")
	h := harness(t, app, nil)
	made, err := h.Call(pdk.OpCreate, pdk.Input{Attributes: ada})
	require.NoError(t, err)
	out, err := h.Call(pdk.OpUpdate, pdk.Input{
		UserProvAccount:   &pdk.UserProvAccount{ExternalUserId: made.ExternalUserId},
		Attributes:        map[string]any{"lastName": "King", "firstName": "is not named"},
		ChangedAttributes: []string{"lastName", "email"},
	})
	require.NoError(t, err)
	assert.Equal(t, "King", out.ExternalLastName)
	assert.Equal(t, "2", out.Version)
	assert.Equal(t, map[string]any{"username": "ada@example.com", "firstName": "Ada", "lastName": "King", "active": true}, out.Attributes)
}

func TestReadFindsByUsername(t *testing.T) {
	h := harness(t, target.New(""), nil)
	made, err := h.Call(pdk.OpCreate, pdk.Input{Attributes: ada})
	require.NoError(t, err)
	found, err := h.Call(pdk.OpRead, pdk.Input{Attributes: map[string]any{"username": "ADA@example.com"}})
	require.NoError(t, err)
	assert.Equal(t, made.ExternalUserId, found.ExternalUserId)
	_, err = h.Call(pdk.OpRead, pdk.Input{})
	assert.Equal(t, pdk.InvalidInput, pdk.TypeOf(err))
}

func TestStatusFollowsTheAccount(t *testing.T) {
	h := harness(t, target.New(""), nil)
	made, err := h.Call(pdk.OpCreate, pdk.Input{Attributes: ada})
	require.NoError(t, err)
	for _, c := range []struct {
		op   pdk.Operation
		want string
	}{{pdk.OpFreeze, "frozen"}, {pdk.OpUnfreeze, "active"}, {pdk.OpDeactivate, "inactive"}, {pdk.OpActivate, "active"}} {
		out, err := h.Call(c.op, pdk.Input{UserProvAccount: &pdk.UserProvAccount{ExternalUserId: made.ExternalUserId}})
		require.NoError(t, err)
		assert.Equal(t, c.want, out.Status, c.op)
	}
}

func TestEveryOperationFailsWithEveryTypeOnDemand(t *testing.T) {
	app := target.New("")
	for _, op := range pdk.Operations[1:] {
		for _, kind := range pdk.ErrorTypes {
			h := harness(t, app, map[string]any{"fail": map[string]any{string(op): string(kind)}, "retry_after": 3})
			_, err := h.Call(op, pdk.Input{Attempt: 1, Attributes: ada})
			require.Equal(t, kind, pdk.TypeOf(err), "%s", op)
			assert.Empty(t, h.Callouts(), "nothing is asked of the target")
		}
	}
	assert.Empty(t, app.Accounts())
}

func TestFailingEndsAfterSomeAttempts(t *testing.T) {
	h := harness(t, target.New(""), map[string]any{"fail": map[string]any{"create": "Unavailable"}, "fail_attempts": 2, "retry_after": 3})
	for attempt := 1; attempt <= 2; attempt++ {
		_, err := h.Call(pdk.OpCreate, pdk.Input{Attempt: attempt, Attributes: ada})
		var e *pdk.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 3, e.RetryAfterSeconds)
	}
	_, err := h.Call(pdk.OpCreate, pdk.Input{Attempt: 3, Attributes: ada})
	assert.NoError(t, err)
}

func TestAnUncertainFailureHasDoneItsWork(t *testing.T) {
	app := target.New("")
	_, err := harness(t, app, map[string]any{"fail": map[string]any{"create": "Unavailable"}, "uncertain": true}).
		Call(pdk.OpCreate, pdk.Input{Attempt: 1, Attributes: ada})
	var e *pdk.Error
	require.ErrorAs(t, err, &e)
	assert.True(t, e.Uncertain)
	assert.Len(t, app.Accounts(), 1)
}

func TestAPendingCreateEndsWithCheck(t *testing.T) {
	h := harness(t, target.New(""), map[string]any{"pending": true})
	out, err := h.Call(pdk.OpCreate, pdk.Input{Attributes: ada})
	require.NoError(t, err)
	require.NotNil(t, out.Pending)
	assert.Empty(t, out.ExternalUserId)
	out, err = h.Call(pdk.OpCheck, pdk.Input{PendingToken: out.Pending.Token})
	require.NoError(t, err)
	assert.Equal(t, "ada@example.com", out.ExternalUsername)
}

func TestPages(t *testing.T) {
	app := target.New("")
	for i := range 10 {
		require.NotEmpty(t, app.Add(target.Account{"username": fmt.Sprintf("u%d", i)}))
	}
	for _, c := range []struct {
		name            string
		settings        map[string]any
		pages, accounts int
	}{
		{"whole", map[string]any{"page_size": 4}, 3, 10},
		{"half", map[string]any{"page_size": 4, "half_page": true}, 5, 10},
		{"duplicate", map[string]any{"page_size": 4, "duplicate": true}, 3, 13},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := harness(t, app, c.settings).Reconcile(pdk.Input{})
			require.NoError(t, err)
			assert.Equal(t, c.pages, all.Pages)
			assert.Len(t, all.Accounts, c.accounts)
		})
	}
}

func TestSlowAsksTheTargetToWait(t *testing.T) {
	h := harness(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "1500", r.URL.Query().Get("delay"))
	}), map[string]any{"slow_ms": 1500})
	_, err := h.Call(pdk.OpTestConnection, pdk.Input{})
	assert.NoError(t, err)
}

func TestTheTargetWantsItsToken(t *testing.T) {
	app := target.New("secret")
	_, err := harness(t, app, nil).Call(pdk.OpTestConnection, pdk.Input{})
	assert.Equal(t, pdk.Unauthorized, pdk.TypeOf(err))

	r := httptest.NewRequest("GET", "/accounts", strings.NewReader(""))
	r.Header.Set("Authorization", "Bearer secret")
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	assert.Equal(t, http.StatusOK, w.Code)
}

func TestItBuildsForTheSandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: compiles for wasip1")
	}
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", filepath.Join(t.TempDir(), "mock.wasm"), ".")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, string(said))
}

func TestADeltaSaysWhatHasChangedSinceTheLastRun(t *testing.T) {
	app := target.New("")
	for i := range 25 {
		require.NotEmpty(t, app.Add(target.Account{"username": fmt.Sprintf("u%02d", i)}))
	}
	h := harness(t, app, map[string]any{"page_size": 10})
	pages := func(in pdk.Input, between func()) (said []string, token string) {
		for {
			out, err := h.Call(pdk.OpReconcile, in)
			require.NoError(t, err)
			for _, a := range out.Accounts {
				said = append(said, strings.TrimSpace(string(a.Change)+" "+a.ExternalUserId))
			}
			if ended, token := pdk.ReconEnded(out.ReconState); ended {
				return said, token
			}
			between()
			in.ReconOffset, in.ReconState = out.NextReconOffset, out.ReconState
		}
	}
	// What changes while the pages of the full run are read is in the delta.
	all, token := pages(pdk.Input{}, func() { require.True(t, app.Put("acc-00000001", target.Account{"username": "first"})) })
	require.Len(t, all, 25)
	require.NotEmpty(t, token)
	require.True(t, app.Put("acc-00000002", nil))
	require.NotEmpty(t, app.Add(target.Account{"username": "new"}))
	said, next := pages(pdk.Input{Mode: pdk.ModeDelta, ReconState: token}, func() {})
	require.Equal(t, []string{"present acc-00000001", "deleted acc-00000002", "created acc-00000026"}, said)
	said, _ = pages(pdk.Input{Mode: pdk.ModeDelta, ReconState: next}, func() {})
	require.Empty(t, said)
	for i := range 12 {
		require.True(t, app.Put(fmt.Sprintf("acc-%08d", 10+i), nil))
	}
	said, _ = pages(pdk.Input{Mode: pdk.ModeDelta, ReconState: next}, func() {})
	require.Len(t, said, 12, "two pages")
	_, token = pages(pdk.Input{ReconFilter: "new"}, func() {})
	require.Empty(t, token, "what one filter found is no ground for a delta")
	app.Forget()
	_, err := h.Call(pdk.OpReconcile, pdk.Input{Mode: pdk.ModeDelta, ReconState: next})
	require.Equal(t, pdk.NotFound, pdk.TypeOf(err))
}
