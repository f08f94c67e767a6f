package pdktest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/provosthq/provost/pdk"
)

// small is a connector whose every call is one callout or a closure.
type small struct {
	read func(*pdk.Context, pdk.Input) (pdk.Account, error)
	page func(pdk.Input) pdk.Page
}

func (s small) Read(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) { return s.read(ctx, in) }
func (s small) Reconcile(_ *pdk.Context, in pdk.Input) (pdk.Page, error) { return s.page(in), nil }

var described = pdk.Description{Name: "small", Version: "0.1.0"}

func get(path string) small {
	return small{read: func(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
		var got struct{ ID string }
		err := ctx.Get(path, "q", "a b").JSON(&got)
		return pdk.Account{ExternalUserId: got.ID}, err
	}}
}

func TestACalloutIsServedInProcess(t *testing.T) {
	var asked *http.Request
	h := New(t, get("/users/a%2Fb"), described, NamedCredential("Acme"), Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		_, _ = w.Write([]byte(`{"ID":"7"}`))
	})))
	out, err := h.Call(pdk.OpRead, pdk.Input{})
	require.NoError(t, err)
	assert.Equal(t, "7", out.ExternalUserId)
	assert.Equal(t, "/users/a%2Fb", asked.URL.EscapedPath())
	assert.Equal(t, "a b", asked.URL.Query().Get("q"))
	assert.Equal(t, "application/json", asked.Header.Get("Accept"))
	assert.Equal(t, []Callout{{pdk.OpRead, "GET", "callout:Acme/users/a%2Fb?q=a+b", 200}}, h.Callouts())
}

func TestWhatTheHostRefusesTheHarnessRefuses(t *testing.T) {
	served := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Authorization"))
		panic(http.ErrAbortHandler)
	}))
	do := func(r *pdk.Request) small {
		return small{read: func(ctx *pdk.Context, _ pdk.Input) (pdk.Account, error) { return pdk.Account{}, ctx.Do(r).Err() }}
	}
	for _, c := range []struct {
		name string
		r    *pdk.Request
		in   pdk.Input
		want pdk.Error
	}{
		{"another credential", &pdk.Request{Method: "GET", Path: "/"}, pdk.Input{NamedCredDevName: "Other"}, pdk.Error{Type: pdk.PermissionDenied}},
		{"a path that leaves", &pdk.Request{Method: "GET", Path: "/../x"}, pdk.Input{}, pdk.Error{Type: pdk.PermissionDenied}},
		{"an escaped path that leaves", &pdk.Request{Method: "GET", Path: "/%2e%2e/x"}, pdk.Input{}, pdk.Error{Type: pdk.PermissionDenied}},
		{"a method", &pdk.Request{Method: "TRACE", Path: "/"}, pdk.Input{}, pdk.Error{Type: pdk.Unsupported}},
		{"a cut read", &pdk.Request{Method: "GET", Path: "/", Header: map[string]string{"Authorization": "x"}}, pdk.Input{}, pdk.Error{Type: pdk.Unavailable}},
		{"a cut change", &pdk.Request{Method: "POST", Path: "/"}, pdk.Input{}, pdk.Error{Type: pdk.Unavailable, Uncertain: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(t, do(c.r), described, served).Call(pdk.OpRead, c.in)
			var e *pdk.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want.Type, e.Type)
			assert.Equal(t, c.want.Uncertain, e.Uncertain)
		})
	}
}

func TestTheClockIsTheTests(t *testing.T) {
	at := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	c := small{read: func(ctx *pdk.Context, _ pdk.Input) (pdk.Account, error) {
		ctx.Log().Info("read", "at", ctx.Now())
		return pdk.Account{Details: ctx.Now().Format(time.RFC3339)}, nil
	}}
	out, err := New(t, c, described, Now(at)).Call(pdk.OpRead, pdk.Input{})
	require.NoError(t, err)
	assert.Equal(t, "2030-05-06T07:08:09Z", out.Details)
}

func TestReconcileCollectsAllAndFindsLoops(t *testing.T) {
	page := func(next string) small {
		return small{page: func(in pdk.Input) pdk.Page {
			p := pdk.Page{Next: map[string]string{"": "2", "2": "3", "3": next}[in.ReconOffset], Token: "t1"}
			p.Add(pdk.Account{ExternalUserId: "u" + in.ReconOffset})
			return p
		}}
	}
	all, err := New(t, page(""), described).Reconcile(pdk.Input{})
	require.NoError(t, err)
	assert.Equal(t, 3, all.Pages)
	assert.Len(t, all.Accounts, 3)
	assert.Equal(t, "t1", all.Token)

	_, err = New(t, page("2"), described).Reconcile(pdk.Input{})
	assert.ErrorContains(t, err, `nextReconOffset "2" was there before`)
}

func TestDescribeListsWhatIsImplemented(t *testing.T) {
	d, err := New(t, small{}, described).Describe()
	require.NoError(t, err)
	assert.Equal(t, []pdk.Operation{pdk.OpDescribe, pdk.OpRead, pdk.OpReconcile}, d.Operations)
}

func TestChecksFindFaults(t *testing.T) {
	for _, c := range []struct {
		name, want string
		check      func(*Harness) error
		connector  any
		d          pdk.Description
	}{
		{"a bad name", "lower-case", checkDescribe, small{}, pdk.Description{Name: "Small", Version: "1.0.0"}},
		{"a bad version", "semantic version", checkDescribe, small{}, pdk.Description{Name: "small", Version: "1"}},
		{"nothing implemented", "none of pdk's interfaces", checkDescribe, struct{}{}, described},
		{"the same account twice", "twice", checkReconcile, small{page: func(pdk.Input) pdk.Page {
			return pdk.Page{Accounts: []pdk.Account{{ExternalUserId: "1"}, {ExternalUserId: "1"}}}
		}}, described},
		{"a failure taken for a success", "calls that a success", checkFailures, small{
			read: func(ctx *pdk.Context, _ pdk.Input) (pdk.Account, error) {
				ctx.Get("/")
				return pdk.Account{}, nil
			},
			page: func(pdk.Input) pdk.Page { return pdk.Page{} },
		}, described},
		{"a panic", "panicked", checkFailures, small{
			read: func(*pdk.Context, pdk.Input) (pdk.Account, error) { panic("oh") },
			page: func(pdk.Input) pdk.Page { return pdk.Page{} },
		}, described},
		{"a missing account that is found", "want NotFound", checkNotFound, get("/x"), described},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.check(New(t, c.connector, c.d, Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte("{}"))
			}))))
			assert.ErrorContains(t, err, c.want)
		})
	}
}

func TestRunPassesForAConnectorThatKeepsTheContract(t *testing.T) {
	Run(t, small{
		read: func(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
			var got struct{ ID string }
			err := ctx.Get("/users/" + in.UserProvAccount.ExternalUserId).JSON(&got)
			return pdk.Account{ExternalUserId: got.ID}, err
		},
		page: func(pdk.Input) pdk.Page { return pdk.Page{} },
	}, Description(described), Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "-0") {
			http.NotFound(w, r)
		}
	})))
}
