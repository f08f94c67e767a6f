package console

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/host/access"
	"github.com/provosthq/provost/host/api"
)

const (
	signInPath  = Path + "/sign-in"
	setupPath   = Path + "/setup"
	accountPath = Path + "/account"
)

// accessPages are the ways in and out, and what one may do about oneself.
func (c *console) accessPages() map[string]handler {
	pages := map[string]handler{
		"GET " + signInPath:                    c.signInPage,
		"POST " + signInPath:                   c.signIn,
		"GET " + signInPath + "/openid":        c.signInElsewhere,
		"GET " + access.OpenIDCallback:         c.signedInElsewhere,
		"GET " + setupPath:                     c.setupPage,
		"POST " + setupPath:                    c.setUp,
		"POST " + Path + "/sign-out":           c.signOut,
		"GET " + accountPath:                   c.accountPage,
		"POST " + accountPath + "/password":    c.ownPassword,
		"POST " + accountPath + "/codes":       c.beginCodes,
		"POST " + accountPath + "/codes/check": c.enableCodes,
		"POST " + accountPath + "/sessions/{id}/end": func(w http.ResponseWriter, r *http.Request) error {
			if err := c.Service.EndSession(r.Context(), r.PathValue("id")); err != nil {
				return err
			}
			return c.done(w, r, accountPath, Flash{Tone: "good", Text: "That browser is signed out."})
		},
		"POST " + accountPath + "/tokens": c.newOwnToken,
		"POST " + accountPath + "/tokens/{id}/revoke": func(w http.ResponseWriter, r *http.Request) error {
			if err := c.Service.RevokeOwnToken(r.Context(), r.PathValue("id")); err != nil {
				return err
			}
			return c.done(w, r, accountPath, Flash{Tone: "good", Text: "The token is revoked."})
		},
	}
	maps.Copy(pages, c.managePages())
	return pages
}

// accessRules are those of accessPages.
var accessRules = append(access.Rules{
	{Route: "GET " + signInPath, Need: access.Public},
	{Route: "POST " + signInPath, Need: access.Public},
	{Route: "GET " + signInPath + "/openid", Need: access.Public},
	{Route: "GET " + access.OpenIDCallback, Need: access.Public},
	{Route: "GET " + setupPath, Need: access.Public},
	{Route: "POST " + setupPath, Need: access.Public},
	{Route: "POST " + Path + "/sign-out", Need: access.All()},
	{Route: "GET " + accountPath, Need: access.All()},
	{Route: "POST " + accountPath + "/password", Need: access.All()},
	{Route: "POST " + accountPath + "/codes", Need: access.All()},
	{Route: "POST " + accountPath + "/codes/check", Need: access.All()},
	{Route: "POST " + accountPath + "/sessions/{id}/end", Need: access.All()},
	{Route: "POST " + accountPath + "/tokens", Need: access.All()},
	{Route: "POST " + accountPath + "/tokens/{id}/revoke", Need: access.All()},
}, manageRules...)

// toSignIn leads somebody who is not signed in, or not any more, to where that
// is done, and back afterwards.
func (c *console) toSignIn(w http.ResponseWriter, r *http.Request) {
	sent := r.Method != http.MethodGet
	next := r.URL.RequestURI()
	if sent || isPart(r) {
		next = cameFrom(r)
	}
	q := url.Values{"next": {next}}
	if isPart(r) && c.write(w, r.Context(), http.StatusUnauthorized, signedOut(signInPath+"?"+q.Encode())) == nil {
		return // the page stays, with what was typed into it
	}
	if sent {
		q.Set("sent", "no")
		setFlash(w, r, Flash{Tone: "warn", Text: "Your session had ended, and what you sent was not done. Look at it, and send it again.", Again: true})
	}
	http.Redirect(w, r, signInPath+"?"+q.Encode(), http.StatusSeeOther)
}

// cameFrom is the page of ours that something was sent from.
func cameFrom(r *http.Request) string {
	from := cmp.Or(r.Header.Get("HX-Current-URL"), r.Header.Get("Referer"))
	u, err := url.Parse(from)
	if err != nil || u.Host != r.Host {
		return Path
	}
	return access.Next(pageOf(u))
}

// pageOf is the page to go back to from an address. A page that an action answered
// with has the action's, which can't be opened; the page above it can, with the
// same query.
func pageOf(u *url.URL) string {
	for at := u.EscapedPath(); at != ""; at = at[:strings.LastIndexByte(at, '/')] {
		page, err := url.ParseRequestURI(at)
		if err != nil {
			break
		}
		if page.RawQuery = u.RawQuery; isPage(page) {
			return page.RequestURI()
		}
	}
	return Path
}

// way is what a page says that is before the console.
type way struct {
	Next string
	// Provider is what the OpenID provider is called, "" for none; Local: there are
	// names and passwords.
	Provider string
	Local    bool
	// Name was typed before; Problem is why that did not do, at Field or as a whole.
	Name, Problem, Field string
	// Sent: a form was sent after the session had ended, and nothing was done.
	Sent bool
	// WantsToken: the first administrator is made with a token.
	WantsToken bool
	assets     *assets
}

func (v way) wrong(field string) string {
	if v.Field == field {
		return capital(v.Problem)
	}
	return ""
}

// because fills in what went wrong; what a person can do nothing about stays an
// error.
func (v *way) because(w http.ResponseWriter, err error) (int, error) {
	if err == nil {
		return http.StatusOK, nil
	}
	var known *host.Error
	if !errors.As(err, &known) || known.Code == host.Internal {
		return 0, err
	}
	v.Problem, v.Field = message(err), known.Field
	status := known.Code.HTTPStatus()
	if known.RetryAfter > 0 {
		w.Header().Set("Retry-After", itoa(int64(known.RetryAfter.Seconds())+1))
	}
	return status, nil
}

func (c *console) signInPage(w http.ResponseWriter, r *http.Request) error {
	next := access.Next(r.URL.Query().Get("next"))
	if access.SubjectOf(r.Context()) != nil {
		http.Redirect(w, r, next, http.StatusSeeOther)
		return nil
	}
	return c.showSignIn(w, r, next, "", nil)
}

func (c *console) showSignIn(w http.ResponseWriter, r *http.Request, next, name string, cause error) error {
	v := way{Next: next, Name: name, Sent: r.URL.Query().Get("sent") == "no", assets: c.assets}
	if o := c.Gate.OpenID(); o != nil {
		v.Provider = o.Label()
	}
	list, err := c.Gate.Administrators(r.Context())
	if err != nil {
		return err
	}
	v.Local = len(list) > 0
	status, err := v.because(w, cause)
	if err != nil {
		return err
	}
	return c.write(w, r.Context(), status, signInForm(v))
}

func (c *console) signIn(w http.ResponseWriter, r *http.Request) error {
	next := access.Next(r.PostFormValue("next"))
	a := access.Attempt{Name: r.PostFormValue("name"), Password: r.PostFormValue("password"), Code: r.PostFormValue("code")}
	if err := c.Gate.SignIn(w, r, a); err != nil {
		return c.showSignIn(w, r, next, a.Name, err)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (c *console) signInElsewhere(w http.ResponseWriter, r *http.Request) error {
	to, err := c.Gate.BeginOpenID(w, r, r.URL.Query().Get("next"))
	if err != nil {
		return c.showSignIn(w, r, Path, "", err)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (c *console) signedInElsewhere(w http.ResponseWriter, r *http.Request) error {
	next, err := c.Gate.EndOpenID(w, r)
	if err != nil {
		return c.showSignIn(w, r, Path, "", err)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func (c *console) signOut(w http.ResponseWriter, r *http.Request) error {
	if err := c.Gate.SignOut(w, r, r.PostFormValue("everywhere") != ""); err != nil {
		return err
	}
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
	return nil
}

func (c *console) setupPage(w http.ResponseWriter, r *http.Request) error {
	return c.showSetup(w, r, "", nil)
}

func (c *console) showSetup(w http.ResponseWriter, r *http.Request, name string, cause error) error {
	set, err := c.Gate.IsSetUp(r.Context())
	if err != nil {
		return err
	}
	if set {
		http.Redirect(w, r, Path, http.StatusSeeOther)
		return nil
	}
	v := way{Name: name, WantsToken: access.SubjectOf(r.Context()) == nil, assets: c.assets}
	status, err := v.because(w, cause)
	if err != nil {
		return err
	}
	return c.write(w, r.Context(), status, setupForm(v))
}

func (c *console) setUp(w http.ResponseWriter, r *http.Request) error {
	name, password := r.PostFormValue("name"), r.PostFormValue("password")
	var err error
	if password != r.PostFormValue("again") {
		err = &host.Error{Code: host.InvalidInput, Field: "again", Message: "the two passwords differ"}
	} else {
		err = c.Gate.SetUp(w, r, r.PostFormValue("token"), name, password)
	}
	if err != nil {
		return c.showSetup(w, r, name, err)
	}
	http.Redirect(w, r, Path, http.StatusSeeOther)
	return nil
}

// own is what one may do about oneself.
type own struct {
	Me       api.Me
	Labels   []string
	Sessions []api.Session
	// Tokens are one's own; Token is one that was made just now. Person: there can
	// be some. Typed is what the form of a new one had.
	Tokens []*access.APIToken
	Token  *api.NewToken
	Person bool
	Typed  map[string]string
	// Local: there is a password; Codes: and one-time codes are asked for.
	Local, Codes bool
	// Enrolment is a secret that is to be put into an app; Recovery are shown once.
	Enrolment *access.Enrolment
	Recovery  []string
	way
}

func (c *console) accountPage(w http.ResponseWriter, r *http.Request) error {
	return c.showAccount(w, r, own{}, nil)
}

func (c *console) showAccount(w http.ResponseWriter, r *http.Request, v own, cause error) (err error) {
	ctx := r.Context()
	me := access.SubjectOf(ctx)
	if v.Me, err = c.Service.Me(ctx); err != nil {
		return err
	}
	for _, name := range v.Me.Roles {
		role, _ := access.RoleNamed(name)
		v.Labels = append(v.Labels, role.Label)
	}
	sessions, err := c.Service.Sessions(ctx)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.Own {
			v.Sessions = append(v.Sessions, s)
		}
	}
	if v.Tokens, err = c.Service.OwnTokens(ctx); err != nil {
		return err
	}
	v.Person = me.Kind == access.Person
	if v.Local = me.AdministratorId != ""; v.Local {
		list, err := c.Gate.Administrators(ctx)
		if err != nil {
			return err
		}
		for _, a := range list {
			v.Codes = v.Codes || a.Id == me.AdministratorId && a.TOTP != ""
		}
	}
	status, err := v.because(w, cause)
	if err != nil {
		return err
	}
	return c.showWith(w, r, status, Page{Title: "Your account", Sub: Text(v.Me.Name), Current: "account", Actions: manageLink()}, accountOf(v))
}

func (c *console) ownPassword(w http.ResponseWriter, r *http.Request) error {
	next := r.PostFormValue("next-password")
	var err error
	if next != r.PostFormValue("again") {
		err = &host.Error{Code: host.InvalidInput, Field: "again", Message: "the two passwords differ"}
	} else if err = c.Gate.OwnPassword(w, r, r.PostFormValue("present"), next); err != nil {
		var known *host.Error
		if errors.As(err, &known) && known.Field == "password" && known.Message != "this is not your present password" {
			known.Field = "next-password"
		} else if known != nil && known.Field == "password" {
			known.Field = "present"
		}
	}
	if err != nil {
		return c.showAccount(w, r, own{}, err)
	}
	return c.done(w, r, accountPath, Flash{Tone: "good", Text: "Your password is changed. Your other browsers are signed out."})
}

func (c *console) beginCodes(w http.ResponseWriter, r *http.Request) error {
	e, err := c.Gate.BeginTOTP(r.Context())
	if err != nil {
		return err
	}
	return c.showAccount(w, r, own{Enrolment: &e}, nil)
}

func (c *console) enableCodes(w http.ResponseWriter, r *http.Request) error {
	secret := r.PostFormValue("secret")
	recovery, err := c.Gate.EnableTOTP(w, r, r.PostFormValue("password"), secret, r.PostFormValue("code"))
	if err != nil {
		e, drawErr := c.Gate.DrawTOTP(r.Context(), secret)
		if drawErr != nil {
			return drawErr
		}
		return c.showAccount(w, r, own{Enrolment: &e}, err)
	}
	return c.showAccount(w, r, own{Recovery: recovery}, nil)
}

// everythingOwn is the choice of a token that may all that its person may.
const everythingOwn = "all"

// tokenRoles are what a token of one's own may be for.
func tokenRoles(me *access.Subject) (list []Option) {
	for _, r := range access.Roles {
		if !slices.ContainsFunc(r.Permissions, func(p access.Permission) bool { return !me.May(p) }) {
			list = append(list, Option{r.Name, r.Label})
		}
	}
	return append(list, Option{everythingOwn, "All that you may"})
}

// tokenField is a field of the form of a token, as it was typed.
func (v own) tokenField(f Field) Field {
	if f.Problem = v.wrong(f.Name); v.Typed != nil {
		f.Value = v.Typed[f.Name]
	}
	f.Name = "token-" + f.Name
	return f
}

func (c *console) newOwnToken(w http.ResponseWriter, r *http.Request) error {
	me, right := access.SubjectOf(r.Context()), access.Right{Role: r.PostFormValue("token-role"), Apps: appsOf(r.PostFormValue("token-apps"))}
	rights := []access.Right{right}
	switch {
	case right.Role == everythingOwn:
		rights = me.Rights
	case right.Apps == nil && !me.Covers(right): // he may it for some apps
		rights[0].Apps = me.Apps()
	}
	spec, err := c.tokenOf(r, rights...)
	var made api.NewToken
	if err == nil {
		made, err = c.Service.CreateOwnToken(r.Context(), spec)
	}
	if err != nil {
		typed := map[string]string{}
		for _, name := range []string{"name", "role", "apps", "days"} {
			typed[name] = r.PostFormValue("token-" + name)
		}
		return c.showAccount(w, r, own{Typed: typed}, atTokenField(err))
	}
	return c.showAccount(w, r, own{Token: &made}, nil)
}
