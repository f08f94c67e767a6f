package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

const managePath = Path + "/access"

var manageAccess = access.All(access.ManageAccess)

// manageRules are those of managePages.
var manageRules = access.Rules{
	{Route: "GET " + managePath, Need: manageAccess},
	{Route: "POST " + managePath + "/administrators", Need: manageAccess},
	{Route: "POST " + managePath + "/administrators/{id}/delete", Need: manageAccess},
	{Route: "POST " + managePath + "/administrators/{id}/reset-totp", Need: manageAccess},
	{Route: "POST " + managePath + "/tokens", Need: manageAccess},
	{Route: "POST " + managePath + "/tokens/{id}/revoke", Need: manageAccess},
	{Route: "POST " + managePath + "/sessions/{id}/end", Need: manageAccess},
	{Route: "POST " + managePath + "/roles", Need: manageAccess},
	{Route: "POST " + managePath + "/roles/{id}/unassign", Need: manageAccess},
}

// managePages say who else may do what.
func (c *console) managePages() map[string]handler {
	gone := func(do func(r *http.Request, id string) error, said string) handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			if err := do(r, r.PathValue("id")); err != nil {
				return c.refused(w, r, managePath, err)
			}
			return c.done(w, r, managePath, Flash{Tone: "good", Text: said})
		}
	}
	s := c.Service
	return map[string]handler{
		"GET " + managePath:                                      func(w http.ResponseWriter, r *http.Request) error { return c.showManage(w, r, managed{}, nil) },
		"POST " + managePath + "/administrators":                 c.newAdministrator,
		"POST " + managePath + "/administrators/{id}/delete":     gone(func(r *http.Request, id string) error { return s.DeleteAdministrator(r.Context(), id) }, "The administrator is taken away, and signed out everywhere."),
		"POST " + managePath + "/administrators/{id}/reset-totp": gone(func(r *http.Request, id string) error { return s.ResetTOTP(r.Context(), id) }, "One-time codes are not asked for any more, until they are set up anew."),
		"POST " + managePath + "/tokens":                         c.newToken,
		"POST " + managePath + "/tokens/{id}/revoke":             gone(func(r *http.Request, id string) error { return s.RevokeToken(r.Context(), id) }, "The token is revoked."),
		"POST " + managePath + "/sessions/{id}/end":              gone(func(r *http.Request, id string) error { return s.EndSession(r.Context(), id) }, "That browser is signed out."),
		"POST " + managePath + "/roles":                          c.assignRole,
		"POST " + managePath + "/roles/{id}/unassign":            gone(func(r *http.Request, id string) error { return s.UnassignRole(r.Context(), id) }, "The role is taken back."),
	}
}

// managed is who may do what.
type managed struct {
	Administrators []api.Administrator
	Tokens         []*access.APIToken
	Assignments    []*access.Assignment
	Sessions       []api.Session
	// Usernames are of the users that have a role of their own.
	Usernames map[string]string
	// Token is one that was made just now, and is shown this once.
	Token *api.NewToken
	// Of is the form that Problem is of, Typed what it had, but for passwords.
	Of    string
	Typed map[string]string
	way
}

// field is a field of a form, as it was typed, with what is wrong with it.
func (v managed) field(of string, f Field) Field {
	name := of + "-" + f.Name // the page has several forms
	if v.Of == of {
		f.Problem = v.wrong(f.Name)
		if !f.secret() {
			f.Value = v.Typed[name]
		}
	}
	f.Name = name
	return f
}

func (c *console) showManage(w http.ResponseWriter, r *http.Request, v managed, cause error) (err error) {
	ctx := r.Context()
	var errs [4]error
	v.Administrators, errs[0] = c.Service.Administrators(ctx)
	v.Tokens, errs[1] = c.Service.Tokens(ctx)
	v.Assignments, errs[2] = c.Service.Assignments(ctx)
	v.Sessions, errs[3] = c.Service.Sessions(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	var users []string
	for _, a := range v.Assignments {
		if a.User != "" {
			users = append(users, a.User)
		}
	}
	if v.Usernames, err = c.Service.Usernames(ctx, users); err != nil {
		return err
	}
	v.Typed = map[string]string{}
	for name := range r.PostForm {
		v.Typed[name] = r.PostForm.Get(name)
	}
	status, err := v.because(w, cause)
	if err != nil {
		return err
	}
	return c.showWith(w, r, status, Page{Title: "Who may do what", Current: "system", Crumbs: []Crumb{{"Your account", accountPath}, {"Who may do what", ""}}}, manageOf(v))
}

func (c *console) newAdministrator(w http.ResponseWriter, r *http.Request) error {
	name, password := r.PostFormValue("administrator-name"), r.PostFormValue("administrator-password")
	var err error
	if password != r.PostFormValue("administrator-again") {
		err = &host.Error{Code: host.InvalidInput, Field: "again", Message: "the two passwords differ"}
	} else {
		_, err = c.Service.CreateAdministrator(r.Context(), name, password)
	}
	if err != nil {
		return c.showManage(w, r, managed{Of: "administrator"}, err)
	}
	return c.done(w, r, managePath, Flash{Tone: "good", Text: "The administrator can sign in."})
}

func (c *console) newToken(w http.ResponseWriter, r *http.Request) error {
	spec, err := c.tokenOf(r, access.Right{Role: r.PostFormValue("token-role"), Apps: appsOf(r.PostFormValue("token-apps"))})
	var made api.NewToken
	if err == nil {
		made, err = c.Service.CreateToken(r.Context(), spec)
	}
	if err != nil {
		return c.showManage(w, r, managed{Of: "token"}, atTokenField(err))
	}
	return c.showManage(w, r, managed{Token: &made}, nil)
}

// tokenOf is the token that a form asks for.
func (c *console) tokenOf(r *http.Request, rights ...access.Right) (spec access.TokenSpec, err error) {
	days, err := strconv.Atoi(r.PostFormValue("token-days"))
	if err != nil || days < 1 || days > 10_000 {
		return spec, &host.Error{Code: host.InvalidInput, Field: "days", Message: "write a number of days"}
	}
	return access.TokenSpec{Name: r.PostFormValue("token-name"), Until: c.Now().Add(time.Duration(days) * 24 * time.Hour), Rights: rights}, nil
}

func atTokenField(err error) error {
	return atField(err, map[string]string{"rights[0]": "apps", "until": "days"})
}

func (c *console) assignRole(w http.ResponseWriter, r *http.Request) error {
	a := access.Assignment{Role: r.PostFormValue("role-role"), Apps: appsOf(r.PostFormValue("role-apps"))}
	switch name := strings.TrimSpace(r.PostFormValue("role-name")); r.PostFormValue("role-kind") {
	case "user":
		a.User = name
	case "group":
		a.Group = name
	default:
		a.OIDCGroup = name
	}
	if _, err := c.Service.AssignRole(r.Context(), a); err != nil {
		return c.showManage(w, r, managed{Of: "role"}, atField(err, map[string]string{"role": "apps", "": "name"}))
	}
	return c.done(w, r, managePath, Flash{Tone: "good", Text: "The role is given."})
}

// atField moves a problem to the field of the form that it is of.
func atField(err error, fields map[string]string) error {
	var known *host.Error
	if !errors.As(err, &known) {
		return err
	}
	moved := *known
	if to, ok := fields[moved.Field]; ok && moved.Code != host.PermissionDenied {
		moved.Field = to
	}
	return &moved
}

// appsOf are the names in a text; nil for none.
func appsOf(text string) []string {
	names := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		return nil
	}
	return slices.Compact(names)
}

func roleOptions() (list []Option) {
	for _, r := range access.Roles {
		list = append(list, Option{r.Name, r.Label})
	}
	return list
}

func roleLabel(name string) string {
	r, _ := access.RoleNamed(name)
	return r.Label
}

// mayText says what a token may.
func mayText(rights []access.Right) string {
	var parts []string
	for _, r := range rights {
		text := roleLabel(r.Role)
		for _, p := range r.Permissions {
			text = strings.TrimPrefix(text+", "+string(p), ", ")
		}
		if r.Apps != nil {
			text += " for " + strings.Join(r.Apps, ", ")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// whom says whose a role is.
func (v managed) whom(a *access.Assignment) string {
	switch {
	case a.User != "" && v.Usernames[a.User] != "":
		return v.Usernames[a.User]
	case a.User != "":
		return a.User
	case a.Group != "":
		return "The group " + a.Group
	default:
		return "The provider's group " + a.OIDCGroup
	}
}

func appsText(a *access.Assignment) string {
	if a.Apps == nil {
		return "All"
	}
	return strings.Join(a.Apps, ", ")
}
