package pdktest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/provosthq/provost/pdk"
)

// Run checks a connector against the contract, each check a subtest. Its
// description is the one that [pdk.Register] was given, or that of
// [Description]. With [Handler] the operations that change nothing are tried
// on that target; with [Sample] the ones that do as well. Every operation is
// tried on targets that fail.
func Run(t *testing.T, connector any, options ...Option) {
	t.Helper()
	var d pdk.Description
	if v, registered := pdk.Registered(); v != nil && typeOf(v) == typeOf(connector) {
		d = registered
	}
	if d.Name == "" {
		d.Name, d.Version = "connector", "0.0.0"
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			err := c.do(New(t, connector, d, options...))
			switch {
			case errors.Is(err, errSkip):
				t.Skip(err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func typeOf(v any) reflect.Type {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

var errSkip = errors.New("not checked")

func skip(why string) error { return fmt.Errorf("%w: %s", errSkip, why) }

type check struct {
	name string
	do   func(*Harness) error
}

var checks = []check{
	{"describes itself without HTTP", checkDescribe},
	{"refuses wrong input with a typed error", checkWrongInput},
	{"tests the connection", checkConnection},
	{"discovers", checkDiscover},
	{"collects every page", checkReconcile},
	{"an account that is not there is NotFound", checkNotFound},
	{"the life of an account", checkLife},
	{"bears targets that fail", checkFailures},
}

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	versionPattern = regexp.MustCompile(`^\d+\.\d+\.\d+([-+].+)?$`)
)

func checkDescribe(h *Harness) error {
	d, err := h.Describe()
	switch {
	case err != nil:
		return err
	case len(h.callouts) > 0:
		return fmt.Errorf("describe made %d callouts; it is static", len(h.callouts))
	case !namePattern.MatchString(d.Name):
		return fmt.Errorf("name: %q has more than lower-case letters, digits and hyphens", d.Name)
	case !versionPattern.MatchString(d.Version):
		return fmt.Errorf("version: %q is no semantic version, such as 0.1.0", d.Version)
	case len(d.Operations) < 2:
		return errors.New("the connector has no operation but describe: it implements none of pdk's interfaces")
	}
	one, err := h.raw(pdk.OpDescribe, nil)
	if err != nil {
		return err
	}
	two, err := h.raw(pdk.OpDescribe, nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(one, two) {
		return errors.New("describe answers differently the second time")
	}
	return nil
}

func checkWrongInput(h *Harness) error {
	for _, op := range h.description.Operations {
		if op == pdk.OpDescribe {
			continue
		}
		for _, in := range []string{"", "{", "[]", `{"operation":7}`, fmt.Sprintf(`{"operation":%q,"attributes":"x"}`, op)} {
			_, err := h.raw(op, []byte(in))
			if pdk.TypeOf(err) != pdk.InvalidInput {
				return fmt.Errorf("%s with the input %q: want InvalidInput, got %w", op, in, orNothing(err))
			}
		}
	}
	return nil
}

func checkConnection(h *Harness) error {
	if why := h.lacks(pdk.OpTestConnection); why != nil {
		return why
	}
	_, err := h.Call(pdk.OpTestConnection, pdk.Input{})
	return err
}

func checkDiscover(h *Harness) error {
	if why := h.lacks(pdk.OpDiscover); why != nil {
		return why
	}
	d, err := h.Discover(pdk.Input{})
	if err != nil {
		return err
	}
	for _, op := range d.Capabilities.Operations {
		if !slices.Contains(h.description.Operations, op) {
			return fmt.Errorf("discover names the operation %q, which the connector has not", op)
		}
	}
	if !slices.ContainsFunc(d.ObjectClasses, func(c pdk.ObjectClass) bool { return c.Name == pdk.ObjectClassAccount }) {
		return fmt.Errorf("discover finds no object class %q", pdk.ObjectClassAccount)
	}
	return nil
}

func checkReconcile(h *Harness) error {
	if why := h.lacks(pdk.OpReconcile); why != nil {
		return why
	}
	all, err := h.Reconcile(pdk.Input{Mode: pdk.ModeFull})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, a := range all.Accounts {
		if seen[a.ExternalUserId] {
			return fmt.Errorf("the account %q is there twice", a.ExternalUserId)
		}
		seen[a.ExternalUserId] = true
	}
	return nil
}

func checkNotFound(h *Harness) error {
	if why := h.lacks(pdk.OpRead); why != nil {
		return why
	}
	_, err := h.Call(pdk.OpRead, about("no-such-account-0"))
	if pdk.TypeOf(err) != pdk.NotFound {
		return fmt.Errorf("read: want NotFound, got %w", orNothing(err))
	}
	if h.has(pdk.OpDelete) {
		if _, err := h.Call(pdk.OpDelete, about("no-such-account-0")); err != nil && pdk.TypeOf(err) != pdk.NotFound {
			return fmt.Errorf("delete: want NotFound or success, got %w", err)
		}
	}
	return nil
}

func checkLife(h *Harness) error {
	if why := h.lacks(pdk.OpCreate); why != nil {
		return why
	}
	if h.sample == nil {
		return skip("give attributes with pdktest.Sample")
	}
	create := pdk.Input{Attributes: h.sample, Attempt: 1, IdempotencyKey: "one"}
	made, err := h.Call(pdk.OpCreate, create)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if made.Pending != nil {
		return skip("create is pending")
	}
	if made.ExternalUserId == "" {
		return errors.New("create: the answer has no ExternalUserId")
	}
	create.IdempotencyKey = "two"
	switch again, err := h.Call(pdk.OpCreate, create); {
	case err == nil && again.ExternalUserId != made.ExternalUserId:
		return fmt.Errorf("a second create of the same attributes made a second account, %q", again.ExternalUserId)
	case err != nil && pdk.TypeOf(err) != pdk.AlreadyExists:
		return fmt.Errorf("a second create of the same attributes: want AlreadyExists, got %w", err)
	}
	in := about(made.ExternalUserId)
	for _, op := range []pdk.Operation{pdk.OpRead, pdk.OpFreeze, pdk.OpUnfreeze, pdk.OpDeactivate, pdk.OpActivate, pdk.OpDelete} {
		if !h.has(op) {
			continue
		}
		out, err := h.Call(op, in)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if out.ExternalUserId != "" && out.ExternalUserId != made.ExternalUserId {
			return fmt.Errorf("%s: answers with the account %q, not %q", op, out.ExternalUserId, made.ExternalUserId)
		}
	}
	if h.has(pdk.OpDelete) && h.has(pdk.OpRead) {
		if _, err := h.Call(pdk.OpRead, in); pdk.TypeOf(err) != pdk.NotFound {
			return fmt.Errorf("read after delete: want NotFound, got %w", orNothing(err))
		}
	}
	return nil
}

// failures are targets that fail, and what a connector that asked them must
// answer; "" is any error.
var failures = []struct {
	name    string
	handler http.HandlerFunc
	want    pdk.ErrorType
}{
	{"401", status(401), pdk.Unauthorized},
	{"403", status(403), pdk.PermissionDenied},
	{"429", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
	}, pdk.RateLimited},
	{"500", status(500), pdk.Unavailable},
	{"503", status(503), pdk.Unavailable},
	{"a cut connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, pdk.Unavailable},
	{"HTML", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = w.Write([]byte("<html><h1>Welcome</h1></html>")) // a recorder, which never fails
	}, ""},
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func checkFailures(h *Harness) error {
	var problems []error
	for _, f := range failures {
		h.handler = f.handler
		for _, op := range h.description.Operations {
			if op == pdk.OpDescribe {
				continue
			}
			h.callouts = nil
			in := about("42")
			in.Attributes, in.PendingToken = h.sample, "42"
			var err error
			if op == pdk.OpDiscover {
				if _, err = h.Discover(in); err == nil {
					continue // what a target does not tell may be assumed
				}
			} else {
				_, err = h.Call(op, in)
			}
			switch {
			case errors.Is(err, errPanic):
				problems = append(problems, fmt.Errorf("target answers %s: %w", f.name, err))
			case len(h.callouts) == 0: // nothing was asked, so nothing failed
			case err == nil && (op == pdk.OpTestConnection && f.want == ""): // the target answers, which is all that it may want
			case err == nil:
				problems = append(problems, fmt.Errorf("target answers %s: %s calls that a success; return what Response.JSON or Err returns", f.name, op))
			case f.want != "" && pdk.TypeOf(err) != f.want:
				problems = append(problems, fmt.Errorf("target answers %s: %s: want %s, got %w", f.name, op, f.want, err))
			case f.want == pdk.RateLimited:
				var e *pdk.Error
				if errors.As(err, &e) && e.RetryAfterSeconds != 7 {
					problems = append(problems, fmt.Errorf("target answers %s with Retry-After 7: %s: retryAfterSeconds is %d", f.name, op, e.RetryAfterSeconds))
				}
			}
		}
	}
	return errors.Join(problems...)
}

// about is an input about one account of the target.
func about(id string) pdk.Input {
	return pdk.Input{UserProvAccount: &pdk.UserProvAccount{ExternalUserId: id}, Attempt: 1}
}

func (h *Harness) has(op pdk.Operation) bool { return slices.Contains(h.description.Operations, op) }

// lacks says why an operation can't be tried on the target.
func (h *Harness) lacks(op pdk.Operation) error {
	switch {
	case !h.has(op):
		return skip("the connector has no " + string(op))
	case h.handler == nil:
		return skip("there is no target; give one with pdktest.Handler")
	}
	return nil
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("success")
	}
	return err
}
