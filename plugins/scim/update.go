package main

import (
	"net/url"
	"strings"

	"github.com/provosthq/provost/pdk"
)

func escapeQuery(s string) string { return url.QueryEscape(s) }

// Update changes what in.ChangedAttributes names, by PATCH where the server
// has it, and by reading and putting the whole account otherwise.
func (scim) Update(ctx *pdk.Context, in pdk.Input) (pdk.Account, error) {
	id, err := idOf(in)
	if err != nil {
		return pdk.Account{}, err
	}
	if len(in.ChangedAttributes) == 0 {
		return scim{}.Read(ctx, in)
	}
	s := settingsOf(in)
	if s.update == "put" || s.update == "auto" && !hasPatch(ctx) {
		return put(ctx, s, in, id)
	}
	a, err := patch(ctx, s, in, id)
	if pdk.TypeOf(err) == pdk.Unsupported && s.update == "auto" {
		return put(ctx, s, in, id)
	}
	return a, err
}

// hasPatch asks the server; one that does not say so is taken to have it.
func hasPatch(ctx *pdk.Context) bool {
	var config struct {
		Patch *struct {
			Supported any `json:"supported"`
		} `json:"patch"`
	}
	if ctx.Get("/ServiceProviderConfig").JSON(&config) != nil || config.Patch == nil {
		return true
	}
	return truth(config.Patch.Supported) != false
}

type change struct {
	Op    string `json:"op"`
	Path  string `json:"path,omitempty"`
	Value any    `json:"value,omitempty"`
}

// changes are the operations of a PATCH.
func changes(in pdk.Input) []change {
	var list []change
	for _, path := range in.ChangedAttributes {
		value, ok := pdk.GetPath(in.Attributes, path)
		if !ok {
			list = append(list, change{Op: "remove", Path: scimPath(path)})
			continue
		}
		list = append(list, change{Op: "replace", Path: scimPath(path), Value: value})
	}
	return list
}

// scimPath writes emails[work].value as a SCIM path: emails[type eq "work"].value.
func scimPath(path string) string {
	before, rest, ok := strings.Cut(path, "[")
	if !ok {
		return path
	}
	kind, after, _ := strings.Cut(rest, "]")
	return before + "[type eq " + quote(kind) + "]" + after
}

func patch(ctx *pdk.Context, s settings, in pdk.Input, id string) (pdk.Account, error) {
	list := changes(in)
	groups := [][]change{list}
	if s.oneChange {
		groups = nil
		for _, c := range list {
			groups = append(groups, []change{c})
		}
	}
	var got resource
	for _, group := range groups {
		var err error
		if got, err = patchOnce(ctx, s, in, id, group); err != nil {
			return pdk.Account{}, err
		}
	}
	if got.id() == "" { // 204
		return readBack(ctx, s, id)
	}
	return got.account(), nil
}

func patchOnce(ctx *pdk.Context, s settings, in pdk.Input, id string, group []change) (resource, error) {
	var got resource
	err := sendChanges(ctx, s, in, id, group).JSON(&got)
	if !noTarget(err, group) {
		return got, err
	}
	// An element that is not there yet can't be replaced: add it whole.
	var added []change
	for _, c := range group {
		name, filtered, ok := strings.Cut(c.Path, "[type eq ")
		if !ok {
			added = append(added, c)
			continue
		}
		if c.Op == "remove" {
			continue // nothing there to remove
		}
		kind, sub, _ := strings.Cut(filtered, "]")
		element := map[string]any{"type": strings.Trim(kind, `"`)}
		element[strings.TrimPrefix(sub, ".")] = c.Value
		if sub == "" {
			element["value"] = c.Value
		}
		added = append(added, change{Op: "add", Path: name, Value: []any{element}})
	}
	got = nil
	if len(added) == 0 {
		return got, nil
	}
	return got, sendChanges(ctx, s, in, id, added).JSON(&got)
}

func sendChanges(ctx *pdk.Context, s settings, in pdk.Input, id string, group []change) *pdk.Response {
	return send(ctx, s, "PATCH", s.user(id), map[string]any{"schemas": []any{patchSchema}, "Operations": group})
}

// noTarget tells whether a server refused because a filtered element is not
// there (RFC 7644, 3.5.2.3).
func noTarget(err error, group []change) bool {
	if t := pdk.TypeOf(err); t != pdk.InvalidInput && t != pdk.NotFound {
		return false
	}
	e, ok := err.(*pdk.Error)
	if !ok || e.HTTPStatus == 404 && !strings.Contains(e.Details, "noTarget") {
		return false
	}
	for _, c := range group {
		if strings.Contains(c.Path, "[type eq ") {
			return true
		}
	}
	return false
}

// put reads the account, lays the changes over it and puts it back, so that
// what we do not know of stays.
func put(ctx *pdk.Context, s settings, in pdk.Input, id string) (pdk.Account, error) {
	var now resource
	answer := ctx.Get(s.user(id))
	if err := answer.JSON(&now); err != nil {
		return pdk.Account{}, err
	}
	version := ""
	if meta, ok := now["meta"].(map[string]any); ok {
		version = str(meta["version"])
	}
	for _, path := range in.ChangedAttributes {
		value, ok := pdk.GetPath(in.Attributes, path)
		if ok {
			pdk.SetPath(now, path, value)
		} else {
			remove(now, path)
		}
	}
	delete(now, "meta")
	delete(now, "groups")
	schemas := outgoing(now)["schemas"].([]any)
	now["schemas"] = schemas
	header := map[string]string{"content-type": s.contentType, "accept": "application/scim+json, application/json"}
	if version != "" {
		header["if-match"] = version
	}
	var got resource
	err := sendWith(ctx, "PUT", s.user(id), now, header).JSON(&got)
	if err != nil {
		return pdk.Account{}, err
	}
	if got.id() == "" {
		return readBack(ctx, s, id)
	}
	return got.account(), nil
}

func readBack(ctx *pdk.Context, s settings, id string) (pdk.Account, error) {
	var got resource
	if err := ctx.Get(s.user(id)).JSON(&got); err != nil {
		return pdk.Account{}, err
	}
	return got.account(), nil
}

// remove takes a value away: a plain attribute, a member, or an element.
func remove(r resource, path string) {
	if before, rest, ok := strings.Cut(path, "["); ok {
		kind, _, _ := strings.Cut(rest, "]")
		list, _ := r[before].([]any)
		var kept []any
		for _, e := range list {
			if m, ok := e.(map[string]any); !ok || !strings.EqualFold(str(m["type"]), kind) {
				kept = append(kept, e)
			}
		}
		r[before] = kept
		return
	}
	if i := strings.LastIndexByte(path, ':'); strings.HasPrefix(path, "urn:") && i > 0 {
		if m, ok := r[path[:i]].(map[string]any); ok {
			delete(m, path[i+1:])
		}
		return
	}
	name, member, nested := strings.Cut(path, ".")
	if !nested {
		delete(r, name)
		return
	}
	if m, ok := r[name].(map[string]any); ok {
		delete(m, member)
	}
}
