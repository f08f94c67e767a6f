package mapping

import (
	"slices"
	"strings"
	"unicode"

	"github.com/provosthq/provost/pdk"
)

// Suggestion is a rule that an attribute of a target probably wants. It is for a
// person to take or leave.
type Suggestion struct {
	// Path is the attribute, Rule the whole rule.
	Path, Rule string
	// Reason is why, for a person; Default says that the connector itself has it.
	Reason  string
	Default bool
	// Type, Required and Unique are as the target says of the attribute.
	Type             string
	Required, Unique bool
}

// UserFields are the names of a user's fields as expressions know them: the
// model's, then the organisation's own.
func UserFields(own []string) []string { return append(slices.Clone(userFields), own...) }

// Suggest makes rules for the attributes of a target that no rule of mapped
// makes yet: the connector's own first, then by what the attribute is called.
// own are the organisation's own fields of a user.
func Suggest(attributes []pdk.Attribute, mapped, defaults, own []string) []Suggestion {
	taken := map[string]bool{}
	for _, rule := range mapped {
		taken[strings.ToLower(RulePath(rule, attributes))] = true
	}
	var out []Suggestion
	add := func(s Suggestion) {
		if key := strings.ToLower(s.Path); !taken[key] {
			taken[key] = true
			out = append(out, s)
		}
	}
	flat := flattened(attributes)
	known := map[string]pdk.Attribute{}
	for _, a := range flat {
		known[strings.ToLower(a.Name)] = a
	}
	for _, rule := range defaults {
		path := RulePath(rule, attributes)
		a := known[strings.ToLower(path)]
		add(Suggestion{Path: path, Rule: rule, Reason: "as the connector has it", Default: true, Required: a.Required, Unique: a.Unique, Type: a.Type})
	}
	for _, a := range flat {
		if expression, reason := guess(a, own); expression != "" {
			add(Suggestion{Path: a.Name, Rule: a.Name + " = " + expression, Reason: reason, Required: a.Required, Unique: a.Unique, Type: a.Type})
		}
	}
	return out
}

// RulePath is the path that a rule makes, "" where it is of no known form.
func RulePath(rule string, attributes []pdk.Attribute) string {
	left, _, ok := cut(rule)
	if !ok {
		return ""
	}
	return keyed(left, attributes)
}

// Paths are the paths that a rule can make of attributes: what is inside an
// object by itself, of a list of complex values the one for work.
func Paths(attributes []pdk.Attribute) []pdk.Attribute { return flattened(attributes) }

func flattened(attributes []pdk.Attribute) []pdk.Attribute {
	var out []pdk.Attribute
	for _, a := range attributes {
		switch {
		case a.ReadOnly || a.Name == "" || !pdk.ValidPath(a.Name):
		case a.Type != "complex" || len(a.SubAttributes) == 0:
			if !a.MultiValued {
				out = append(out, a)
			}
		case a.MultiValued:
			for _, sub := range a.SubAttributes {
				if !sub.ReadOnly && sub.Name != "type" && sub.Name != "primary" && sub.Name != "display" && sub.Name != "$ref" {
					out = append(out, within(a.Name+"[work]", sub, false))
				}
			}
		default:
			for _, sub := range a.SubAttributes {
				if !sub.ReadOnly && !sub.MultiValued {
					out = append(out, within(a.Name, sub, a.Required))
				}
			}
		}
	}
	return out
}

// within is an attribute inside of another: required where both are.
func within(parent string, sub pdk.Attribute, required bool) pdk.Attribute {
	sub.Name, sub.Required = parent+"."+sub.Name, required && sub.Required
	return sub
}

// meanings are the words that targets use for what we know of a user, without
// case and signs. The last words of a path are looked up first.
var meanings = map[string]string{
	"username": "user.Username", "login": "user.Username", "loginname": "user.Username", "userid": "user.Username", "userprincipalname": "user.Username", "upn": "user.Username", "account": "user.Username", "accountname": "user.Username", "samaccountname": "user.Username", "uid": "user.Username",
	"givenname": "user.FirstName", "firstname": "user.FirstName", "forename": "user.FirstName",
	"familyname": "user.LastName", "lastname": "user.LastName", "surname": "user.LastName", "sn": "user.LastName",
	"displayname": `trim(user.FirstName + " " + user.LastName)`, "fullname": `trim(user.FirstName + " " + user.LastName)`, "name": `trim(user.FirstName + " " + user.LastName)`, "formattedname": `trim(user.FirstName + " " + user.LastName)`, "nameformatted": `trim(user.FirstName + " " + user.LastName)`, "cn": `trim(user.FirstName + " " + user.LastName)`,
	"email": "lower(user.Email)", "mail": "lower(user.Email)", "emailaddress": "lower(user.Email)", "primaryemail": "lower(user.Email)", "emailsworkvalue": "lower(user.Email)", "workemail": "lower(user.Email)",
	"nickname": "user.Alias", "alias": "user.Alias", "handle": "user.Alias",
	"title": "user.Title", "jobtitle": "user.Title", "position": "user.Title",
	"company": "user.CompanyName", "companyname": "user.CompanyName", "organization": "user.CompanyName", "organisation": "user.CompanyName",
	"division": "user.Division", "department": "user.Department",
	"employeenumber": "user.EmployeeNumber", "employeeid": "user.EmployeeNumber", "personnelnumber": "user.EmployeeNumber",
	"phone": "user.Phone", "phonenumber": "user.Phone", "telephone": "user.Phone", "telephonenumber": "user.Phone", "phonenumbersworkvalue": "user.Phone", "workphone": "user.Phone",
	"mobile": "user.MobilePhone", "mobilephone": "user.MobilePhone", "cellphone": "user.MobilePhone",
	"street": "user.Street", "streetaddress": "user.Street", "city": "user.City", "locality": "user.City", "state": "user.State", "region": "user.State",
	"postalcode": "user.PostalCode", "zip": "user.PostalCode", "zipcode": "user.PostalCode", "country": "user.Country", "countrycode": "user.Country",
	"timezone": "user.TimeZoneSidKey", "locale": "user.LocaleSidKey", "language": "user.LanguageLocaleKey", "preferredlanguage": "user.LanguageLocaleKey",
	"active": "user.IsActive", "enabled": "user.IsActive", "isactive": "user.IsActive",
	"externalid": "user.Id", "foreignid": "user.Id",
}

// guess is an expression for an attribute by its name, and why; "" for none.
func guess(a pdk.Attribute, own []string) (expression, reason string) {
	words := bareName(a.Name)
	last := bareName(a.Name[strings.LastIndexAny(a.Name, ".:")+1:])
	for _, field := range slices.Concat(own, userFields) {
		if f := bareName(field); f == last && f != "id" && f != "state" && f != "profile" && f != "permissionsets" {
			return "user." + field, "has the name of user." + field
		}
	}
	for _, name := range []string{words, last} {
		e, ok := meanings[name]
		if !ok || last == "value" && name == last {
			continue
		}
		if boolean := e == "user.IsActive"; boolean != (a.Type == "boolean") {
			continue
		}
		return e, "is what others call it"
	}
	return "", ""
}

// bareName is a name without case and signs.
func bareName(name string) string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}
