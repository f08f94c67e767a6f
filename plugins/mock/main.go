// Command mock is a connector that needs no third party: it keeps its accounts
// in the small HTTP app of plugins/mock/target, and fails when its settings
// say so. It is the model's UserProvMockTarget, for demos and tests.
package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"

	"github.com/provosthq/provost/pdk"
)

func main() {}

func init() { pdk.Register(mock{}, description) }

var description = pdk.Description{
	Name: "mock", Version: "0.1.0", Vendor: "Provost", Summary: "A stand-in for an app, which fails on demand.",
	SettingsVersion: 1,
	SettingsSchema: map[string]any{
		"type": "object", "additionalProperties": false,
		"properties": map[string]any{
			"fail": map[string]any{
				"type": "object", "description": "What an operation fails with: {create: RateLimited}.",
				"propertyNames":        map[string]any{"enum": texts(pdk.Operations)},
				"additionalProperties": map[string]any{"enum": texts(pdk.ErrorTypes)},
			},
			"fail_attempts": map[string]any{"type": "integer", "minimum": 0, "description": "How many attempts fail before one works; 0: all fail."},
			"retry_after":   map[string]any{"type": "integer", "minimum": 0, "description": "Seconds that RateLimited and Unavailable ask to wait."},
			"uncertain":     map[string]any{"type": "boolean", "description": "An operation that fails does its work first, and says that it is uncertain."},
			"duplicate":     map[string]any{"type": "boolean", "description": "Each page of a reconcile lists its first account twice."},
			"half_page":     map[string]any{"type": "boolean", "description": "A page of a reconcile holds half of what was asked for, and the next goes on there."},
			"pending":       map[string]any{"type": "boolean", "description": "A create is pending; check ends it."},
			"slow_ms":       map[string]any{"type": "integer", "minimum": 0, "maximum": 60000, "description": "How long the target takes over each answer."},
			"page_size":     map[string]any{"type": "integer", "minimum": 1, "maximum": 1000, "description": "Accounts on a page; 100 unless said otherwise."},
		},
	},
	CredentialProtocols: []string{"anonymous", "bearer", "basic", "api_key", "oauth2_client_credentials"},
	Attributes:          attributes,
	DefaultMapping: []string{
		"username = user.Username",
		"firstName = user.FirstName",
		"lastName = user.LastName",
		"email = lower(user.Email)",
		"active = user.IsActive",
	},
	DefaultLink: []string{"lower(account.ExternalUsername) = lower(user.Username)"},
}

var attributes = []pdk.Attribute{
	{Name: "username", Required: true, Unique: true}, {Name: "firstName"}, {Name: "lastName"}, {Name: "email"},
	{Name: "active", Type: "boolean"}, {Name: "frozen", Type: "boolean"},
}

func texts[T ~string](words []T) []any {
	all := make([]any, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return all
}

// settings are what the operator wants to see.
type settings struct {
	Fail         map[pdk.Operation]pdk.ErrorType `json:"fail"`
	FailAttempts int                             `json:"fail_attempts"`
	RetryAfter   int                             `json:"retry_after"`
	Uncertain    bool                            `json:"uncertain"`
	Duplicate    bool                            `json:"duplicate"`
	HalfPage     bool                            `json:"half_page"`
	Pending      bool                            `json:"pending"`
	SlowMS       int                             `json:"slow_ms"`
	PageSize     int                             `json:"page_size"`
}

// mock has no state: every call begins anew.
type mock struct{}

// call is one call with its settings.
type call struct {
	*pdk.Context
	in pdk.Input
	settings
}

// begin reads the settings and fails where they say so.
func begin(ctx *pdk.Context, in pdk.Input) (*call, error) {
	c := &call{Context: ctx, in: in}
	b, err := json.Marshal(in.Settings)
	if err == nil {
		err = json.Unmarshal(b, &c.settings)
	}
	if err != nil {
		return nil, pdk.Errorf(pdk.InvalidInput, "settings: %v", err)
	}
	if c.PageSize < 1 {
		c.PageSize = 100
	}
	if c.Uncertain {
		return c, nil
	}
	return c, c.wanted()
}

// wanted is the failure that the settings want of this call, nil for none.
func (c *call) wanted() error {
	kind, ok := c.Fail[c.in.Operation]
	if !ok || c.FailAttempts > 0 && c.in.Attempt > c.FailAttempts {
		return nil
	}
	e := pdk.Errorf(kind, "mock fails %s, as the setting fail says", c.in.Operation)
	if kind == pdk.RateLimited || kind == pdk.Unavailable {
		e.RetryAfterSeconds = c.RetryAfter
	}
	e.Uncertain = c.Uncertain
	return e
}

// end returns the account, or the failure that was to come after the work.
func (c *call) end(a pdk.Account, err error) (pdk.Account, error) {
	if err == nil && c.Uncertain {
		err = c.wanted()
	}
	if err != nil {
		return pdk.Account{}, err
	}
	return a, nil
}

func (c *call) send(method, path string, query url.Values, header map[string]string, body map[string]any) *pdk.Response {
	r := &pdk.Request{Method: method, Path: path, Query: url.Values{}, Header: map[string]string{"content-type": "application/json"}}
	for name, values := range query {
		r.Query[name] = values
	}
	for name, value := range header {
		r.Header[name] = value
	}
	if c.SlowMS > 0 {
		r.Query.Set("delay", strconv.Itoa(c.SlowMS))
	}
	if body != nil {
		r.Body, _ = json.Marshal(body) // it came as JSON
	}
	return c.Do(r)
}

// one decodes an answer that is one account.
func one(r *pdk.Response) (pdk.Account, error) {
	var got map[string]any
	if err := r.JSON(&got); err != nil {
		return pdk.Account{}, err
	}
	return account(got)
}

func account(got map[string]any) (pdk.Account, error) {
	text := func(name string) string { s, _ := got[name].(string); return s }
	a := pdk.Account{
		ExternalUserId: text("id"), ExternalUsername: text("username"), ExternalFirstName: text("firstName"),
		ExternalLastName: text("lastName"), ExternalEmail: text("email"), Version: text("version"), Status: "active",
	}
	if a.ExternalUserId == "" {
		return a, pdk.Errorf(pdk.Unavailable, "the target answered with an account that has no id; is it plugins/mock/target?")
	}
	if got["frozen"] == true {
		a.Status = "frozen"
	}
	if got["active"] == false {
		a.Status = "inactive"
	}
	delete(got, "id")
	delete(got, "version")
	a.Attributes = got
	return a, nil
}

func accountPath(id string) string { return "/accounts/" + url.PathEscape(id) }

// id is the account that the call is about.
func (c *call) id() (string, error) {
	if a := c.in.UserProvAccount; a != nil && a.ExternalUserId != "" {
		return a.ExternalUserId, nil
	}
	found, err := c.find()
	return found.ExternalUserId, err
}

// find looks the account up by its id or by its username.
func (c *call) find() (pdk.Account, error) {
	username, _ := c.in.Attributes["username"].(string)
	if a := c.in.UserProvAccount; a != nil {
		if a.ExternalUserId != "" {
			return one(c.send("GET", accountPath(a.ExternalUserId), nil, nil, nil))
		}
		if username == "" {
			username = a.ExternalUsername
		}
	}
	if username == "" {
		return pdk.Account{}, pdk.Errorf(pdk.InvalidInput, "neither the id nor the username of the account is known")
	}
	var got struct{ Accounts []map[string]any }
	if err := c.send("GET", "/accounts", url.Values{"username": {username}}, nil, nil).JSON(&got); err != nil {
		return pdk.Account{}, err
	}
	if len(got.Accounts) == 0 {
		return pdk.Account{}, pdk.Errorf(pdk.NotFound, "there is no account with the username %q", username)
	}
	return account(got.Accounts[0])
}

// change reads the account, changes its attributes, and stores it unless
// somebody else did in between.
func change(ctx *pdk.Context, in pdk.Input, do func(attributes map[string]any)) (pdk.Account, error) {
	c, err := begin(ctx, in)
	if err != nil {
		return pdk.Account{}, err
	}
	now, err := c.find()
	if err != nil {
		return pdk.Account{}, err
	}
	do(now.Attributes)
	return c.end(one(c.send("PUT", accountPath(now.ExternalUserId), nil, map[string]string{"if-match": now.Version}, now.Attributes)))
}

func set(name string, value any) func(map[string]any) {
	return func(attributes map[string]any) { attributes[name] = value }
}

// Create makes the account.
func (mock) Create(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	c, err := begin(ctx, in)
	if err != nil {
		return pdk.Account{}, err
	}
	a, err := c.end(one(c.send("POST", "/accounts", nil, nil, in.Attributes)))
	if err == nil && c.Pending {
		return pdk.Account{Details: "the target takes its time", Pending: &pdk.Pending{Token: a.ExternalUserId, CheckAfterSeconds: 1}}, nil
	}
	return a, err
}

// Check ends a create that was pending.
func (mock) Check(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	c, err := begin(ctx, in)
	if err != nil {
		return pdk.Account{}, err
	}
	return c.end(one(c.send("GET", accountPath(in.PendingToken), nil, nil, nil)))
}

// Read finds an account by its id or its username.
func (mock) Read(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	c, err := begin(ctx, in)
	if err != nil {
		return pdk.Account{}, err
	}
	return c.end(c.find())
}

// Update changes what changedAttributes names, or all that attributes has.
func (mock) Update(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return change(ctx, in, func(attributes map[string]any) {
		if len(in.ChangedAttributes) == 0 {
			for name, value := range in.Attributes {
				attributes[name] = value
			}
		}
		for _, path := range in.ChangedAttributes {
			if value, ok := pdk.GetPath(in.Attributes, path); ok {
				pdk.SetPath(attributes, path, value)
			} else if _, plain := attributes[path]; plain {
				delete(attributes, path)
			} else if _, there := pdk.GetPath(attributes, path); there {
				pdk.SetPath(attributes, path, nil)
			}
		}
	})
}

// Deactivate sets active to false.
func (mock) Deactivate(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return change(ctx, in, set("active", false))
}

// Activate sets active to true.
func (mock) Activate(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return change(ctx, in, set("active", true))
}

// Freeze sets frozen to true.
func (mock) Freeze(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return change(ctx, in, set("frozen", true))
}

// Unfreeze sets frozen to false.
func (mock) Unfreeze(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return change(ctx, in, set("frozen", false))
}

// Delete takes the account away; one that is gone already is done.
func (mock) Delete(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	c, err := begin(ctx, in)
	if err != nil {
		return pdk.Account{}, err
	}
	id, err := c.id()
	if err == nil {
		err = c.send("DELETE", accountPath(id), nil, nil, nil).Err()
	}
	if pdk.TypeOf(err) == pdk.NotFound {
		err = nil
	}
	return c.end(pdk.Account{ExternalUserId: id}, err)
}

// Reconcile returns the accounts after in.ReconOffset, or in a delta those that
// have changed.
func (mock) Reconcile(ctx *pdk.Context, in pdk.Input) (pdk.Page, error) {
	c, err := begin(ctx, in)
	if err != nil {
		return pdk.Page{}, err
	}
	limit := c.PageSize
	if c.HalfPage {
		limit = max(1, limit/2)
	}
	query := url.Values{"limit": {strconv.Itoa(limit)}, "after": {in.ReconOffset}}
	if in.ReconFilter != "" {
		query.Set("username", in.ReconFilter)
	}
	if in.Mode == pdk.ModeDelta {
		return c.changes(limit)
	}
	var got struct {
		Accounts []map[string]any
		Next     string
		Token    string
		Total    int64
	}
	if err := c.send("GET", "/accounts", query, nil, nil).JSON(&got); err != nil {
		return pdk.Page{}, err
	}
	// The next delta begins where the first page was read: what changes while
	// the others are comes again.
	page := pdk.Page{Next: got.Next, State: in.ReconState, TotalEstimate: got.Total}
	if in.ReconOffset == "" {
		page.State = got.Token
	}
	if got.Next == "" && in.ReconFilter == "" {
		page.Token = page.State
	}
	for _, found := range got.Accounts {
		a, err := account(found)
		if err != nil {
			return pdk.Page{}, err
		}
		page.Add(a)
	}
	if c.Duplicate && len(page.Accounts) > 0 {
		page.Accounts = slices.Insert(page.Accounts, 0, page.Accounts[0])
	}
	_, err = c.end(pdk.Account{}, nil)
	return page, err
}

// changes returns what has changed since the token that the last run left.
func (c *call) changes(limit int) (pdk.Page, error) {
	since := c.in.ReconOffset
	if since == "" {
		since = c.in.ReconState
	}
	var got struct {
		Changes []struct {
			Change  pdk.Change
			Account map[string]any
		}
		Next, Token string
	}
	if err := c.send("GET", "/changes", url.Values{"since": {since}, "limit": {strconv.Itoa(limit)}}, nil, nil).JSON(&got); err != nil {
		return pdk.Page{}, err
	}
	page := pdk.Page{Next: got.Next, State: c.in.ReconState}
	if got.Next == "" {
		page.Token = got.Token
	}
	for _, found := range got.Changes {
		a, err := account(found.Account)
		if err != nil {
			return pdk.Page{}, err
		}
		if a.Change = found.Change; a.Change == pdk.ChangeChanged {
			a.Change = pdk.ChangePresent // it is whole
		}
		page.Add(a)
	}
	_, err := c.end(pdk.Account{}, nil)
	return page, err
}

// Discover says what plugins/mock/target can do.
func (mock) Discover(ctx *pdk.Context, in pdk.Input) (pdk.Discovery, error) {
	if _, err := begin(ctx, in); err != nil {
		return pdk.Discovery{}, err
	}
	return pdk.Discovery{
		ObjectClasses: []pdk.ObjectClass{{Name: pdk.ObjectClassAccount, Label: "Account", Attributes: attributes}},
		Capabilities:  pdk.Capabilities{Operations: pdk.Describe(mock{}, description).Operations, ConditionalUpdate: true, Delta: true},
		Limits:        pdk.Limits{MaxPageSize: 1000, MaxPayloadBytes: 1 << 20},
	}, nil
}

// TestConnection asks for the target's root.
func (mock) TestConnection(ctx *pdk.Context, in pdk.Input) error {
	c, err := begin(ctx, in)
	if err != nil {
		return err
	}
	return c.send("GET", "/", nil, nil, nil).Err()
}
