package access

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The names of our cookies; where they go over https only, __Host- stands
// before them, so that nobody else of the domain can set them.
const (
	sessionCookie = "provost-session"
	deviceCookie  = "provost-device"
	openIDCookie  = "provost-openid"
)

// IsSecure tells whether the browser that sends a request reaches us by https:
// itself, or as the public URL says that what stands before us does.
func (g *Gate) IsSecure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	public, err := url.Parse(g.settings.Load().PublicURL)
	return err == nil && public.Scheme == "https" && strings.EqualFold(public.Host, r.Host)
}

// isPrivate tells whether nobody on the way can read what a request sends.
func (g *Gate) isPrivate(r *http.Request) bool { return g.IsSecure(r) || IsLoopback(r.Host) }

// IsLoopback tells whether a host, with or without its port, is this machine.
func IsLoopback(address string) bool {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		name = strings.Trim(address, "[]")
	}
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

func (g *Gate) cookieName(r *http.Request, name string) string {
	if g.IsSecure(r) {
		return "__Host-" + name
	}
	return name
}

func (g *Gate) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(g.cookieName(r, name))
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie gives the browser a value for so long; 0 takes it away.
func (g *Gate) setCookie(w http.ResponseWriter, r *http.Request, name, value string, lasts time.Duration) {
	c := &http.Cookie{Name: g.cookieName(r, name), Value: value, Path: "/", HttpOnly: true, Secure: g.IsSecure(r), SameSite: http.SameSiteLaxMode, MaxAge: int(lasts / time.Second)}
	if lasts <= 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// Next is where somebody goes after the sign-in: a path of the console, never
// another site.
func Next(text string) string {
	const home = "/console"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.ContainsAny(text, "\\\x00\r\n\t") {
		return home
	}
	if u.Path != home && !strings.HasPrefix(u.Path, home+"/") || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "..") ||
		strings.HasPrefix(u.Path, home+"/sign-in") || strings.HasPrefix(u.Path, home+"/setup") {
		return home
	}
	return u.RequestURI()
}
