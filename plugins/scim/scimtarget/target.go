// Package scimtarget is a SCIM server in memory, for tests and the demo: the
// protocol is elimity-com/scim's, the accounts are kept here.
package scimtarget

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elimity-com/scim"
	scimerrors "github.com/elimity-com/scim/errors"
	"github.com/elimity-com/scim/optional"
	"github.com/elimity-com/scim/schema"
	filter "github.com/scim2/filter-parser/v2"
)

// Options are for [New].
type Options struct {
	// Token is the bearer token that every request must carry.
	Token string
	// NoPatch makes a server that has PUT only.
	NoPatch bool
	// MaxResults is the largest page; 0 is 100.
	MaxResults int
}

// Target is the server. It may be used from many goroutines.
type Target struct {
	handler http.Handler
	token   string

	mu       sync.Mutex
	accounts map[string]Account
	order    []string
	names    map[string]string // id by userName in lower case
	next     int
	created  int
}

// Account is one account: its attributes as SCIM has them.
type Account struct {
	ID         string
	ExternalID string
	Attributes map[string]any
	Changed    time.Time
}

// New makes a target without accounts. It serves /Users and the discovery
// endpoints at its root.
func New(o Options) (*Target, error) {
	t := &Target{token: o.Token, accounts: map[string]Account{}, names: map[string]string{}}
	server, err := scim.NewServer(&scim.ServerArgs{
		ServiceProviderConfig: &scim.ServiceProviderConfig{MaxResults: o.MaxResults, SupportFiltering: true, SupportPatch: !o.NoPatch},
		ResourceTypes: []scim.ResourceType{{
			ID: optional.NewString("User"), Name: "User", Endpoint: "/Users", Schema: schema.CoreUserSchema(),
			SchemaExtensions: []scim.SchemaExtension{{Schema: schema.ExtensionEnterpriseUser()}},
			Handler:          t,
		}},
	})
	t.handler = server
	return t, err
}

func (t *Target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t.token != "" && r.Header.Get("Authorization") != "Bearer "+t.token {
		w.Header().Set("Content-Type", "application/scim+json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"status":"401","detail":"a bearer token is needed"}`)
		return
	}
	t.handler.ServeHTTP(w, r)
}

// Accounts is a copy of all accounts, in the order in which they were made.
func (t *Target) Accounts() []Account {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Account, 0, len(t.order))
	for _, id := range t.order {
		list = append(list, t.accounts[id].copy())
	}
	return list
}

// Created counts the accounts that were ever made over HTTP.
func (t *Target) Created() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.created
}

// Add makes an account behind everybody's back and returns its id.
func (t *Target) Add(attributes map[string]any) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.add(attributes)
	return a.ID, err
}

// Change changes an account behind everybody's back.
func (t *Target) Change(id string, change func(attributes map[string]any)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.accounts[id].copy()
	change(a.Attributes)
	t.accounts[id] = a
}

// Remove takes an account away behind everybody's back.
func (t *Target) Remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.accounts[id]; ok {
		t.remove(a)
	}
}

// Restore makes the accounts those of an earlier [Target.Accounts], as one does
// with a backup. Ids of later accounts are not used again.
func (t *Target) Restore(backup []Account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accounts, t.names, t.order = map[string]Account{}, map[string]string{}, nil
	for _, a := range backup {
		a = a.copy()
		t.accounts[a.ID], t.names[userName(a.Attributes)] = a, a.ID
		t.order = append(t.order, a.ID)
	}
}

func (a Account) copy() Account {
	a.Attributes = deep(a.Attributes)
	return a
}

// deep copies what is JSON.
func deep(m map[string]any) map[string]any {
	b, err := json.Marshal(m)
	if err != nil { // it came from JSON
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		panic(err)
	}
	if out == nil {
		out = map[string]any{}
	}
	return out
}

func userName(attributes map[string]any) string {
	s, _ := attributes["userName"].(string)
	return strings.ToLower(s)
}

// add makes an account; t.mu is held.
func (t *Target) add(attributes map[string]any) (Account, error) {
	name := userName(attributes)
	if _, taken := t.names[name]; taken {
		return Account{}, scimerrors.ScimErrorUniqueness
	}
	t.next++
	a := Account{ID: fmt.Sprintf("scim-%06d", t.next), Changed: time.Now(), Attributes: deep(attributes)}
	a.ExternalID, _ = a.Attributes["externalId"].(string)
	delete(a.Attributes, "externalId")
	t.accounts[a.ID] = a
	t.order = append(t.order, a.ID)
	t.names[name] = a.ID
	return a, nil
}

func (t *Target) resource(a Account) scim.Resource {
	r := scim.Resource{ID: a.ID, Attributes: scim.ResourceAttributes(a.copy().Attributes),
		Meta: scim.Meta{LastModified: &a.Changed, Version: fmt.Sprintf(`W/"%d"`, a.Changed.UnixNano())}}
	if a.ExternalID != "" {
		r.ExternalID = optional.NewString(a.ExternalID)
	}
	return r
}

// Create implements scim.ResourceHandler.
func (t *Target) Create(_ *http.Request, attributes scim.ResourceAttributes) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, err := t.add(attributes)
	if err != nil {
		return scim.Resource{}, err
	}
	t.created++
	return t.resource(a), nil
}

// Get implements scim.ResourceHandler.
func (t *Target) Get(_ *http.Request, id string) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.accounts[id]
	if !ok {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	return t.resource(a), nil
}

// GetAll implements scim.ResourceHandler.
func (t *Target) GetAll(_ *http.Request, p scim.ListRequestParams) (scim.Page, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	page := scim.Page{Resources: []scim.Resource{}}
	start := max(1, p.StartIndex)
	for _, id := range t.order {
		a := t.accounts[id]
		if p.FilterValidator != nil {
			seen := maps.Clone(a.Attributes)
			seen["id"], seen["externalId"] = a.ID, a.ExternalID
			if p.FilterValidator.PassesFilter(seen) != nil {
				continue
			}
		}
		page.TotalResults++
		if page.TotalResults >= start && len(page.Resources) < p.Count {
			page.Resources = append(page.Resources, t.resource(a))
		}
	}
	return page, nil
}

// Replace implements scim.ResourceHandler.
func (t *Target) Replace(_ *http.Request, id string, attributes scim.ResourceAttributes) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.accounts[id]
	if !ok {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	return t.put(a, deep(attributes))
}

// put stores an account's new attributes; t.mu is held.
func (t *Target) put(a Account, attributes map[string]any) (scim.Resource, error) {
	before, after := userName(a.Attributes), userName(attributes)
	if other, taken := t.names[after]; taken && other != a.ID {
		return scim.Resource{}, scimerrors.ScimErrorUniqueness
	}
	if v, ok := attributes["externalId"].(string); ok {
		a.ExternalID = v
		delete(attributes, "externalId")
	}
	delete(t.names, before)
	t.names[after] = a.ID
	a.Attributes, a.Changed = attributes, time.Now()
	t.accounts[a.ID] = a
	return t.resource(a), nil
}

// Delete implements scim.ResourceHandler.
func (t *Target) Delete(_ *http.Request, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.accounts[id]
	if !ok {
		return scimerrors.ScimErrorResourceNotFound(id)
	}
	t.remove(a)
	return nil
}

// remove takes an account away; t.mu is held.
func (t *Target) remove(a Account) {
	delete(t.accounts, a.ID)
	delete(t.names, userName(a.Attributes))
	t.order = slices.DeleteFunc(t.order, func(o string) bool { return o == a.ID })
}

// Patch implements scim.ResourceHandler.
func (t *Target) Patch(_ *http.Request, id string, operations []scim.PatchOperation) (scim.Resource, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, ok := t.accounts[id]
	if !ok {
		return scim.Resource{}, scimerrors.ScimErrorResourceNotFound(id)
	}
	attributes := a.copy().Attributes
	for _, op := range operations {
		if err := apply(attributes, op); err != nil {
			return scim.Resource{}, err
		}
	}
	return t.put(a, attributes)
}

// apply does one operation of a PATCH (RFC 7644, 3.5.2).
func apply(attributes map[string]any, op scim.PatchOperation) error {
	if op.Path == nil {
		values, ok := op.Value.(map[string]any)
		if !ok {
			return scimerrors.ScimErrorInvalidValue
		}
		maps.Copy(attributes, values)
		return nil
	}
	at, name := attributes, op.Path.AttributePath.AttributeName
	if uri := op.Path.AttributePath.URI(); uri != "" && uri != schema.UserSchema {
		extension, ok := attributes[uri].(map[string]any)
		if !ok {
			extension = map[string]any{}
			attributes[uri] = extension
		}
		at = extension
	}
	if op.Path.ValueExpression != nil {
		return applyToElement(at, name, op)
	}
	if sub := op.Path.AttributePath.SubAttributeName(); sub != "" {
		complexValue, ok := at[name].(map[string]any)
		if !ok {
			complexValue = map[string]any{}
			at[name] = complexValue
		}
		at, name = complexValue, sub
	}
	switch {
	case strings.EqualFold(op.Op, "remove"):
		delete(at, name)
	case strings.EqualFold(op.Op, "add"):
		old, isList := at[name].([]any)
		added, both := op.Value.([]any)
		if isList && both {
			at[name] = append(old, added...)
			return nil
		}
		at[name] = op.Value
	default:
		at[name] = op.Value
	}
	return nil
}

// applyToElement changes the elements of a list that a filter like
// [type eq "work"] chooses.
func applyToElement(at map[string]any, name string, op scim.PatchOperation) error {
	e, ok := op.Path.ValueExpression.(*filter.AttributeExpression)
	if !ok || e.Operator != filter.EQ {
		return scimerrors.ScimErrorInvalidPath
	}
	list, _ := at[name].([]any)
	found := false
	var kept []any
	for _, element := range list {
		m, is := element.(map[string]any)
		if !is || fmt.Sprint(m[e.AttributePath.AttributeName]) != fmt.Sprint(e.CompareValue) {
			kept = append(kept, element)
			continue
		}
		found = true
		sub := op.Path.SubAttributeName()
		switch {
		case strings.EqualFold(op.Op, "remove") && sub == "":
			continue
		case strings.EqualFold(op.Op, "remove"):
			delete(m, sub)
		case sub == "":
			if values, ok := op.Value.(map[string]any); ok {
				maps.Copy(m, values)
			}
		default:
			m[sub] = op.Value
		}
		kept = append(kept, m)
	}
	if !found {
		return scimerrors.ScimErrorNoTarget
	}
	at[name] = kept
	return nil
}
