package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/provosthq/provost/pdk"
)

// Discover reads ServiceProviderConfig, Schemas and ResourceTypes (RFC 7643,
// 5 to 7). What a server leaves out is assumed, and said in Warnings.
func (scim) Discover(ctx *pdk.Context, in pdk.Input) (pdk.Discovery, error) {
	s := settingsOf(in)
	d := pdk.Discovery{Capabilities: pdk.Capabilities{Operations: description.Operations, PartialUpdate: s.update != "put", Filter: true}}
	d.Capabilities.Operations = pdk.Describe(scim{}, description).Operations
	warn := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }

	answer := ctx.Get("/ServiceProviderConfig")
	switch err := answer.Err(); pdk.TypeOf(err) {
	case "":
	case pdk.Unauthorized, pdk.PermissionDenied, pdk.Unavailable, pdk.RateLimited:
		return d, err
	}
	config := readConfig(answer)
	if config == nil {
		warn("no ServiceProviderConfig that can be read; PATCH and filters are assumed")
	}
	if s.update == "auto" {
		d.Capabilities.PartialUpdate = truth(config["patch"]["supported"]) != false
	}
	d.Capabilities.Filter = truth(config["filter"]["supported"]) != false
	if n, err := strconv.Atoi(str(config["filter"]["maxResults"])); err == nil {
		d.Limits.MaxPageSize = max(0, n)
	}
	d.Capabilities.ConditionalUpdate = truth(config["etag"]["supported"]) == true
	d.Capabilities.CursorPaging = truth(config["pagination"]["cursor"]) == true
	if s.oneChange {
		d.Limits.MaxChangesPerUpdate = 1
	}

	extensions := resourceTypes(ctx, warn)
	class := pdk.ObjectClass{Name: pdk.ObjectClassAccount, Label: "User"}
	var schemas struct{ Resources []schema }
	if err := ctx.Get("/Schemas").JSON(&schemas); err != nil || len(schemas.Resources) == 0 {
		warn("no Schemas; the core attributes are assumed")
		class.Attributes = description.Attributes
	}
	for _, sc := range schemas.Resources {
		switch {
		case strings.EqualFold(sc.ID, coreSchema):
			class.Attributes = append(class.Attributes, sc.attributes("")...)
		case extensions[strings.ToLower(sc.ID)] || strings.EqualFold(sc.ID, enterpriseSchema):
			class.Attributes = append(class.Attributes, sc.attributes(sc.ID+":")...)
		}
	}
	if len(class.Attributes) == 0 {
		warn("Schemas has no %s; the core attributes are assumed", coreSchema)
		class.Attributes = description.Attributes
	}
	d.ObjectClasses = []pdk.ObjectClass{class}
	return d, nil
}

// resourceTypes are the extensions of User, in lower case.
func resourceTypes(ctx *pdk.Context, warn func(string, ...any)) map[string]bool {
	extensions := map[string]bool{}
	var types struct {
		Resources []struct {
			ID, Name         string
			SchemaExtensions []struct{ Schema string }
		}
	}
	if err := ctx.Get("/ResourceTypes").JSON(&types); err != nil {
		warn("no ResourceTypes; the enterprise extension is assumed")
		return extensions
	}
	for _, t := range types.Resources {
		if !strings.EqualFold(t.Name, "User") && !strings.EqualFold(t.ID, "User") {
			continue
		}
		for _, e := range t.SchemaExtensions {
			extensions[strings.ToLower(e.Schema)] = true
		}
	}
	return extensions
}

type schema struct {
	ID         string      `json:"id"`
	Attributes []attribute `json:"attributes"`
}

type attribute struct {
	Name            string      `json:"name"`
	Type            string      `json:"type"`
	MultiValued     any         `json:"multiValued"`
	Required        any         `json:"required"`
	CaseExact       any         `json:"caseExact"`
	Mutability      string      `json:"mutability"`
	Uniqueness      string      `json:"uniqueness"`
	CanonicalValues []any       `json:"canonicalValues"`
	ReferenceTypes  []any       `json:"referenceTypes"`
	Description     string      `json:"description"`
	SubAttributes   []attribute `json:"subAttributes"`
}

func (s schema) attributes(prefix string) []pdk.Attribute {
	return converted(s.Attributes, prefix)
}

func converted(list []attribute, prefix string) []pdk.Attribute {
	var out []pdk.Attribute
	for _, a := range list {
		if a.Name == "" {
			continue
		}
		c := pdk.Attribute{
			Name: prefix + a.Name, Type: a.Type, MultiValued: truth(a.MultiValued) == true, Required: truth(a.Required) == true,
			CaseExact: truth(a.CaseExact) == true, ReadOnly: a.Mutability == "readOnly", Immutable: a.Mutability == "immutable",
			Unique: a.Uniqueness == "server" || a.Uniqueness == "global", Description: a.Description, SubAttributes: converted(a.SubAttributes, ""),
		}
		switch a.Type {
		case "string", "integer", "decimal", "boolean", "dateTime", "binary", "reference", "complex":
		default:
			c.Type = "string"
		}
		for _, v := range a.CanonicalValues {
			c.Values = append(c.Values, str(v))
		}
		if len(a.ReferenceTypes) > 0 {
			c.Reference = str(a.ReferenceTypes[0])
		}
		out = append(out, c)
	}
	return out
}
