package pdk

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type part struct {
	err  error
	page Page
	seen Input
}

func (p *part) Create(_ *Context, in Input) (Account, error) {
	p.seen = in
	return Account{ExternalUserId: "7", Outputs: map[string]any{"a": 1}}, p.err
}
func (p *part) Reconcile(*Context, Input) (Page, error) { return p.page, p.err }
func (p *part) Discover(*Context, Input) (Discovery, error) {
	return Discovery{ObjectClasses: []ObjectClass{{Name: "account"}}}, p.err
}
func (p *part) TestConnection(*Context, Input) error { return p.err }

func handle(p *part, op Operation, in string) (string, *Error) {
	out, failure := Handle((&asked{}).context(Response{}), p, Describe(p, Description{Name: "part", Version: "1.0.0"}), op, []byte(in))
	return string(out), failure
}

func TestHandle(t *testing.T) {
	for _, c := range []struct {
		op       Operation
		in, want string
	}{
		{OpDescribe, "", `{"name":"part","version":"1.0.0","contractVersion":1,"operations":["describe","discover","test_connection","create","reconcile"]}`},
		{OpCreate, `{"operation":"create"}`, `{"ExternalUserId":"7","outputs":{"a":1}}`},
		{OpTestConnection, `{"operation":"test_connection"}`, `{"Status":"ok"}`},
		{OpDiscover, `{"operation":"discover"}`, `{"objectClasses":[{"name":"account","attributes":[]}],"capabilities":{"operations":[]},"limits":{}}`},
		{OpReconcile, `{"operation":"reconcile"}`, `{"reconState":"complete"}`},
	} {
		out, failure := handle(&part{}, c.op, c.in)
		require.Nil(t, failure, c.op)
		assert.JSONEq(t, c.want, out, c.op)
	}
}

func TestHandleFillsInTheObjectClass(t *testing.T) {
	var p part
	_, failure := handle(&p, OpCreate, `{"operation":"create"}`)
	require.Nil(t, failure)
	assert.Equal(t, ObjectClassAccount, p.seen.ObjectClass)
}

func TestHandleRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		op   Operation
		in   string
		want ErrorType
	}{
		{"an operation that is not there", OpDelete, `{"operation":"delete"}`, Unsupported},
		{"another export than the input's", OpCreate, `{"operation":"delete"}`, InvalidInput},
		{"no JSON", OpCreate, `{`, InvalidInput},
	} {
		_, failure := handle(&part{}, c.op, c.in)
		require.NotNil(t, failure, c.name)
		assert.Equal(t, c.want, failure.Type, c.name)
	}
}

func TestErrorsOfAConnectorKeepTheirType(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Error
	}{
		{Errorf(NotFound, "gone"), Error{Type: NotFound, Message: "gone"}},
		{fmt.Errorf("create: %w", &Error{Type: RateLimited, Message: "slow", RetryAfterSeconds: 3}), Error{Type: RateLimited, Message: "create: RateLimited: slow", RetryAfterSeconds: 3}},
		{errors.New("oh"), Error{Type: Internal, Message: "oh"}},
	} {
		for op, in := range map[Operation]string{
			OpCreate: `{"operation":"create"}`, OpReconcile: `{"operation":"reconcile"}`,
			OpDiscover: `{"operation":"discover"}`, OpTestConnection: `{"operation":"test_connection"}`,
		} {
			_, failure := handle(&part{err: c.err}, op, in)
			require.NotNil(t, failure)
			assert.Equal(t, c.want, *failure, op)
		}
	}
	assert.ErrorIs(t, fmt.Errorf("x: %w", Errorf(NotFound, "a")), &Error{Type: NotFound})
	assert.Equal(t, ErrorType(""), TypeOf(nil))
}

func TestTheEndOfAPage(t *testing.T) {
	for _, c := range []struct {
		page Page
		want string
	}{
		{Page{Next: "2", State: "s", Token: "t"}, `{"nextReconOffset":"2","reconState":"s"}`},
		{Page{State: "s"}, `{"reconState":"complete"}`},
		{Page{Token: "a:b", TotalEstimate: 5}, `{"reconState":"complete:a:b","totalEstimate":5}`},
	} {
		out, failure := handle(&part{page: c.page}, OpReconcile, `{"operation":"reconcile"}`)
		require.Nil(t, failure)
		assert.JSONEq(t, c.want, out)
	}
	for state, want := range map[string]struct {
		ended bool
		token string
	}{"complete": {true, ""}, "Completed": {true, ""}, "COMPLETE:a:b": {true, "a:b"}, "": {}, "completely": {}, "page:2": {}} {
		ended, token := ReconEnded(state)
		assert.Equal(t, want.ended, ended, state)
		assert.Equal(t, want.token, token, state)
	}
}
