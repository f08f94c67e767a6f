package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/provosthq/provost/pdk"
)

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
	if t := pdk.TypeOf(err); s.update == "auto" && (t == pdk.Unsupported || t == pdk.NotFound) {
		return put(ctx, s, in, id) // which finds out whether the method or the account is missing
	}
	return a, err
}

// providerConfig reads ServiceProviderConfig; nil where there is none that can
// be read.
func providerConfig(ctx *pdk.Context) map[string]map[string]any {
	return readConfig(ctx.Get("/ServiceProviderConfig"))
}

func readConfig(answer *pdk.Response) map[string]map[string]any {
	var raw map[string]any
	if answer.JSON(&raw) != nil {
		return nil
	}
	config := map[string]map[string]any{}
	for name, v := range raw {
		switch v := v.(type) {
		case map[string]any:
			config[name] = v
		case bool, string: // "patch": true
			config[name] = map[string]any{"supported": v}
		}
	}
	return config
}

// hasPatch asks the server; one that does not say so is taken to have it.
func hasPatch(ctx *pdk.Context) bool {
	return truth(providerConfig(ctx)["patch"]["supported"]) != false
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
		if !ok || value == nil {
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
	err := sendChanges(ctx, s, in, id, group).JSON((*map[string]any)(&got))
	if !noTarget(err, group) {
		return got, err
	}
	got = nil
	added := whole(group)
	if len(added) == 0 {
		return got, nil
	}
	return got, sendChanges(ctx, s, in, id, added).JSON((*map[string]any)(&got))
}

// whole turns changes inside elements that are not there yet into additions of
// the elements, one for each.
func whole(group []change) []change {
	var added []change
	elements := map[string]map[string]any{} // by path of the element
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
		sub = strings.TrimPrefix(sub, ".")
		if sub == "" {
			sub = "value"
		}
		key := name + "[" + kind
		if elements[key] == nil {
			elements[key] = map[string]any{"type": strings.Trim(kind, `"`)}
			added = append(added, change{Op: "add", Path: name, Value: []any{elements[key]}})
		}
		elements[key][sub] = c.Value
	}
	return added
}

func sendChanges(ctx *pdk.Context, s settings, in pdk.Input, id string, group []change) *pdk.Response {
	return send(ctx, s, "PATCH", s.user(id), map[string]any{"schemas": []any{patchSchema}, "Operations": group})
}

// noTarget tells whether a server refused because a filtered element is not
// there (RFC 7644, 3.5.2.3).
func noTarget(err error, group []change) bool {
	var e *pdk.Error
	if !errors.As(err, &e) || !strings.Contains(strings.ToLower(e.Details), "notarget") {
		return false
	}
	return slices.ContainsFunc(group, func(c change) bool { return strings.Contains(c.Path, "[type eq ") })
}

// put reads the account, lays the changes over it and puts it back, so that
// what we do not know of stays.
func put(ctx *pdk.Context, s settings, in pdk.Input, id string) (pdk.Account, error) {
	var now resource
	answer := ctx.Get(s.user(id))
	if err := answer.JSON((*map[string]any)(&now)); err != nil {
		return pdk.Account{}, err
	}
	version := ""
	if meta, ok := now["meta"].(map[string]any); ok {
		version = str(meta["version"])
	}
	for _, path := range in.ChangedAttributes {
		value, ok := pdk.GetPath(in.Attributes, path)
		if ok && value != nil {
			pdk.SetPath(now, path, value)
		} else {
			remove(now, path)
		}
	}
	delete(now, "meta")
	delete(now, "groups")
	now["schemas"] = outgoing(now)["schemas"]
	header := map[string]string{"content-type": s.contentType, "accept": "application/scim+json, application/json"}
	if version != "" {
		header["if-match"] = version
	}
	var got resource
	err := sendWith(ctx, "PUT", s.user(id), now, header).JSON((*map[string]any)(&got))
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
	if err := ctx.Get(s.user(id)).JSON((*map[string]any)(&got)); err != nil {
		return pdk.Account{}, err
	}
	return got.account(), nil
}

// remove takes a value away: an attribute, a member of an object or of an
// element, or an element whose value it is.
func remove(r resource, path string) {
	inner := max(strings.LastIndexByte(path, ']'), strings.LastIndexByte(path, ':'), 0)
	dot := strings.LastIndexByte(path[inner:], '.')
	if before, rest, ok := strings.Cut(path, "["); ok && (dot < 0 || strings.HasSuffix(path, "].value")) {
		kind, _, _ := strings.Cut(rest, "]")
		list, _ := r[before].([]any)
		r[before] = slices.DeleteFunc(list, func(e any) bool {
			m, ok := e.(map[string]any)
			return ok && strings.EqualFold(str(m["type"]), kind)
		})
		return
	}
	if dot >= 0 {
		parent, _ := pdk.GetPath(r, path[:inner+dot])
		if m, ok := parent.(map[string]any); ok {
			delete(m, path[inner+dot+1:])
		}
		return
	}
	if i := strings.LastIndexByte(path, ':'); strings.HasPrefix(path, "urn:") && i > 0 {
		if m, ok := r[path[:i]].(map[string]any); ok {
			delete(m, path[i+1:])
		}
		return
	}
	delete(r, path)
}
