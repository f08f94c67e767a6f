package main

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/pdk"
)

// resource is a SCIM resource as the server sent it.
type resource map[string]any

// send performs a request with the server's content type.
func send(ctx *pdk.Context, s settings, method, path string, body any) *pdk.Response {
	return sendWith(ctx, method, path, body, map[string]string{
		"content-type": s.contentType, "accept": "application/scim+json, application/json"})
}

func sendWith(ctx *pdk.Context, method, path string, body any, header map[string]string) *pdk.Response {
	if r, ok := body.(resource); ok {
		body = map[string]any(r) // written without reflection
	}
	b, err := pdk.Marshal(body)
	if err != nil { // attributes came from JSON
		panic(err)
	}
	return ctx.Do(&pdk.Request{Method: method, Path: path, Body: b, Header: header})
}

// Create makes the account.
func (scim) Create(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	s := settingsOf(in)
	var got resource
	account := outgoing(in.Attributes)
	for path, secret := range in.Secrets { // an initial password
		pdk.SetPath(account, path, secret)
	}
	if err := send(ctx, s, "POST", s.usersPath, account).JSON((*map[string]any)(&got)); err != nil {
		return pdk.Account{}, err
	}
	if got.id() == "" { // 201 without a body: ask for it
		return scim{}.Read(ctx, in)
	}
	return got.account(), nil
}

// Read finds the account by its id, or by externalId, userName or e-mail.
func (scim) Read(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	s := settingsOf(in)
	if known := in.UserProvAccount; known != nil && known.ExternalUserId != "" {
		var got resource
		if err := ctx.Get(s.user(known.ExternalUserId)).JSON((*map[string]any)(&got)); err != nil {
			return pdk.Account{}, err
		}
		return got.account(), nil
	}
	for _, by := range identifiers(in) {
		found, err := search(ctx, s, by.attribute, by.value)
		if err != nil && pdk.TypeOf(err) != pdk.InvalidInput && pdk.TypeOf(err) != pdk.Unsupported {
			return pdk.Account{}, err // a server that can't filter by this attribute may by the next
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0].account(), nil
		default:
			return pdk.Account{}, pdk.Errorf(pdk.InvalidInput, "%d accounts have the %s %q; link the right one by hand", len(found), by.attribute, by.value)
		}
	}
	return pdk.Account{}, pdk.Errorf(pdk.NotFound, "no account is found by its userName, externalId or e-mail")
}

type identifier struct{ attribute, value string }

// identifiers are what an account can be found by, the surest first.
func identifiers(in pdk.Input) []identifier {
	var list []identifier
	add := func(attribute, value string) {
		if value != "" && !slices.Contains(list, identifier{attribute, value}) {
			list = append(list, identifier{attribute, value})
		}
	}
	// The id that we gave it is nobody else's. A name may be: a server that adds
	// a suffix of its own has the account under another, and a stranger's under
	// this.
	add("externalId", text(in.Attributes["externalId"]))
	if a := in.UserProvAccount; a != nil {
		add("userName", a.ExternalUsername)
	}
	add("userName", text(in.Attributes["userName"]))
	if v, ok := pdk.GetPath(in.Attributes, "emails[work].value"); ok {
		add("emails.value", text(v))
	}
	return list
}

// search finds accounts by one attribute. Servers that ignore a filter answer
// with everybody, so what comes back is compared again.
func search(ctx *pdk.Context, s settings, attribute, value string) ([]resource, error) {
	filters := []string{attribute + " eq " + quote(value)}
	if list, member, ok := strings.Cut(attribute, "."); ok { // some servers know only the other form
		filters = append(filters, list+"["+member+" eq "+quote(value)+"]")
	}
	var found []resource
	for _, filter := range filters {
		got, err := pageOf(ctx.Get(s.usersPath, "filter", filter, "count", "5"))
		if err != nil {
			return nil, err
		}
		found = slices.DeleteFunc(got.resources, func(r resource) bool { return r.id() == "" || !r.has(attribute, value) })
		if len(found) > 0 {
			break
		}
	}
	return found, nil
}

// quote writes a value of a filter (RFC 7644, 3.4.2.2: a JSON string).
func quote(value string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(value) != nil { // a string always encodes
		return `""`
	}
	return strings.TrimSpace(b.String())
}

func (r resource) has(attribute, value string) bool {
	switch attribute {
	case "emails.value":
	case "externalId": // case-exact (RFC 7643, 3.1)
		return str(r[attribute]) == value
	default:
		return strings.EqualFold(str(r[attribute]), value)
	}
	list, _ := r["emails"].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && strings.EqualFold(str(m["value"]), value) {
			return true
		}
	}
	return false
}

// Deactivate sets active to false.
func (scim) Deactivate(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return setActive(ctx, in, false)
}

// Activate sets active to true.
func (scim) Activate(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	return setActive(ctx, in, true)
}

func setActive(ctx *pdk.Context, in pdk.Input, active bool) (pdk.Account, error) {
	in.Attributes, in.ChangedAttributes = map[string]any{"active": active}, []string{"active"}
	return scim{}.Update(ctx, in)
}

// Delete takes the account away; one that is gone is done.
func (scim) Delete(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	id, err := idOf(in)
	if err != nil {
		return pdk.Account{}, err
	}
	s := settingsOf(in)
	// A page for people with status 200 (a sign-in, a maintenance) is no yes.
	var answer any
	err = ctx.Delete(s.user(id)).JSON(&answer)
	if pdk.TypeOf(err) == pdk.NotFound {
		return pdk.Account{ExternalUserId: id, Status: "deleted", Details: "it was gone already"}, nil
	}
	return pdk.Account{ExternalUserId: id, Status: "deleted"}, err
}

func idOf(in pdk.Input) (string, error) {
	if in.UserProvAccount == nil || in.UserProvAccount.ExternalUserId == "" {
		return "", pdk.Errorf(pdk.InvalidInput, "$.UserProvAccount.ExternalUserId: is missing")
	}
	return in.UserProvAccount.ExternalUserId, nil
}

// TestConnection signs in and lists nobody.
func (scim) TestConnection(ctx *pdk.Context, in pdk.Input) error {
	return ctx.Get(settingsOf(in).usersPath, "count", "1").Err()
}

// outgoing is what is sent of the mapped attributes: with the schemas that
// they use, and with a primary value where a list has but one.
func outgoing(attributes map[string]any) resource {
	r := resource{}
	schemas := []any{coreSchema}
	for name, v := range attributes {
		if strings.HasPrefix(strings.ToLower(name), "urn:") && name != coreSchema {
			schemas = append(schemas, name)
		}
		if list, ok := v.([]any); ok && len(list) == 1 {
			if m, ok := list[0].(map[string]any); ok && m["primary"] == nil && m["value"] != nil {
				one := map[string]any{"primary": true}
				for k, v := range m {
					one[k] = v
				}
				v = []any{one}
				r[name] = v
				continue
			}
		}
		r[name] = v
	}
	slices.SortFunc(schemas[1:], func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	r["schemas"] = schemas
	return r
}

// str reads text where a server may have written a number or a boolean.
func str(v any) string {
	switch t := v.(type) {
	case string:
		return t
	case float64:
		return strconv.FormatFloat(t, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(t)
	default:
		return ""
	}
}

func (r resource) id() string { return str(r["id"]) }

// account is the resource as the host wants it.
func (r resource) account() pdk.Account {
	a := pdk.Account{ExternalUserId: r.id(), ExternalUsername: str(r["userName"]), Attributes: map[string]any{}}
	if name, ok := r["name"].(map[string]any); ok {
		a.ExternalFirstName, a.ExternalLastName = str(name["givenName"]), str(name["familyName"])
	}
	a.ExternalEmail = primaryEmail(r["emails"])
	if meta, ok := r["meta"].(map[string]any); ok {
		a.Version = str(meta["version"])
	}
	for name, v := range r {
		switch name {
		case "id", "schemas", "meta", "groups", "password":
			continue
		case "active":
			v = truth(v)
			a.Status = "active"
			if v == false {
				a.Status = "inactive"
			}
		}
		a.Attributes[name] = v
	}
	return a
}

// truth reads a boolean that a server may have written as text or a number.
func truth(v any) any {
	switch strings.ToLower(str(v)) {
	case "true", "1":
		return true
	case "false", "0":
		return false
	default:
		return v
	}
}

func primaryEmail(v any) string {
	list, _ := v.([]any)
	first := ""
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		if first == "" {
			first = str(m["value"])
		}
		if truth(m["primary"]) == true {
			return str(m["value"])
		}
	}
	return first
}

// page is a ListResponse.
type page struct {
	schemas    []any
	list       bool // it has Resources, be they none
	resources  []resource
	total      int64 // -1: the server does not say
	startIndex int64
	nextCursor string
}

// pageOf reads a ListResponse. The resources are the parsed answer's own:
// nothing is built twice.
func pageOf(answer *pdk.Response) (page, error) {
	var doc map[string]any
	if err := answer.JSON(&doc); err != nil {
		return page{}, err
	}
	p := page{total: -1, nextCursor: str(doc["nextCursor"])}
	p.schemas, _ = doc["schemas"].([]any)
	list, is := doc["Resources"].([]any)
	if !is && doc["Resources"] != nil {
		return p, pdk.Errorf(pdk.Unavailable, "the server answered with a list whose Resources are no list")
	}
	p.list, p.resources = is, make([]resource, len(list))
	for i, e := range list {
		r, ok := e.(map[string]any)
		if !ok {
			return p, pdk.Errorf(pdk.Unavailable, "the server answered with a list whose Resources[%d] is no object", i)
		}
		p.resources[i] = r
	}
	for name, to := range map[string]*int64{"totalResults": &p.total, "startIndex": &p.startIndex} {
		n, known, err := wholeNumber(doc[name])
		if err != nil {
			return p, pdk.Errorf(pdk.Unavailable, "the server answered with a list whose %s is %q, no number", name, text(doc[name]))
		}
		if known {
			*to = n
		}
	}
	return p, nil
}

// wholeNumber reads a number that a server may have written as text.
func wholeNumber(v any) (n int64, known bool, err error) {
	switch v := v.(type) {
	case nil:
		return 0, false, nil
	case float64:
		return int64(v), true, nil
	case string:
		if strings.TrimSpace(v) == "" {
			return 0, false, nil
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return int64(f), err == nil, err
	}
	return 0, false, strconv.ErrSyntax
}

// cursorOffset marks an offset that is a cursor.
const cursorOffset = "cursor:"

// Reconcile returns one page of accounts. The offset is the startIndex, or a
// cursor (RFC 9865) where the settings say so or the server pages by nothing
// else.
func (scim) Reconcile(ctx *pdk.Context, in pdk.Input) (pdk.Page, error) {
	s := settingsOf(in)
	if cursor, is := strings.CutPrefix(in.ReconOffset, cursorOffset); is {
		return s.cursorPage(ctx, in.ReconFilter, cursor)
	}
	if in.ReconOffset == "" && (s.cursor || !s.index && onlyCursor(ctx)) {
		return s.cursorPage(ctx, in.ReconFilter, "")
	}
	start, before := 1, ""
	if in.ReconOffset != "" {
		// Without a total, the first id of the page before stands behind the
		// startIndex, to find out a server that answers with the same page.
		index, id, _ := strings.Cut(in.ReconOffset, ":")
		n, err := strconv.Atoi(index)
		if err != nil || n < 1 {
			return pdk.Page{}, pdk.Errorf(pdk.InvalidInput, "$.reconOffset: %q is no startIndex", in.ReconOffset)
		}
		start, before = n, id
	}
	got, err := pageOf(ctx.Get(s.usersPath, "count", strconv.Itoa(s.pageSize), "filter", in.ReconFilter, "startIndex", strconv.Itoa(start)))
	if err != nil {
		return pdk.Page{}, err
	}
	if err := got.check(); err != nil {
		return pdk.Page{}, err
	}
	out := got.found()
	if len(got.resources) == 0 {
		return out, got.missing(in, s, start)
	}
	if i := int(got.startIndex); i > 0 && i != start || before != "" && got.resources[0].id() == before {
		return pdk.Page{}, pdk.Errorf(pdk.Unsupported, "the server was asked for the page at startIndex %d and answered with another: it does not page by index; try paging: cursor, or a pageSize that holds everybody", start)
	}
	// A page may be smaller than asked, and the total may change while we
	// page: go on from what came, until nothing comes or the end is reached.
	next := start + len(got.resources)
	switch {
	case got.total < 0:
		out.Next = strconv.Itoa(next) + ":" + got.resources[0].id()
	case next <= int(got.total):
		out.Next = strconv.Itoa(next)
	}
	return out, nil
}

// missing refuses an empty page that is not the last: taken for the end it
// would lose all behind it. Some servers count accounts that they do not list;
// at the end of the list that is believed when it is said again and again.
func (p page) missing(in pdk.Input, s settings, start int) error {
	left := int(p.total) - start + 1
	if left <= 0 || left < s.pageSize && in.Attempt >= believed {
		return nil
	}
	return pdk.Errorf(pdk.Unavailable, "the server says that there are %d accounts, and gives none from %d on", p.total, start)
}

// believed is the attempt from which on a server is believed that the rest of
// what it counts is not to be had.
const believed = 3

// cursorPage asks for a page by cursor; the first one by an empty cursor
// (RFC 9865, 2.1).
func (s settings) cursorPage(ctx *pdk.Context, filter, cursor string) (pdk.Page, error) {
	path := s.usersPath + "?cursor"
	if cursor != "" {
		path += "=" + url.QueryEscape(cursor)
	}
	path += "&count=" + strconv.Itoa(s.pageSize)
	if filter != "" {
		path += "&filter=" + url.QueryEscape(filter)
	}
	got, err := pageOf(ctx.Get(path))
	if err != nil {
		return pdk.Page{}, err
	}
	if err := got.check(); err != nil {
		return pdk.Page{}, err
	}
	out := got.found()
	if got.nextCursor != "" {
		out.Next = cursorOffset + got.nextCursor
	}
	return out, nil
}

// onlyCursor tells whether the server announces that it pages by cursor and
// not by index.
func onlyCursor(ctx *pdk.Context) bool {
	paging := providerConfig(ctx)["pagination"]
	return truth(paging["cursor"]) == true && truth(paging["index"]) == false
}

// check refuses an answer that is no list at all: taken for an empty page it
// would end the collecting, and everybody not yet seen would count as gone.
func (p page) check() error {
	if !p.list && p.total < 0 && !slices.Contains(p.schemas, any("urn:ietf:params:scim:api:messages:2.0:ListResponse")) {
		return pdk.Errorf(pdk.Unavailable, "the server answered with JSON that is no SCIM list: it has no Resources, no totalResults and not the schema of a ListResponse")
	}
	return nil
}

func (p page) found() pdk.Page {
	var out pdk.Page
	out.TotalEstimate = max(0, p.total)
	for _, r := range p.resources {
		out.Add(r.account())
	}
	return out
}
