package console

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// Flash is what the next page says of what was pressed on the one before. It
// travels in a cookie, as it may be another machine that makes that page.
type Flash struct {
	// Tone is good, warn, bad or info.
	Tone string `json:"t"`
	Text string `json:"x"`
	// Link leads on, with Label; both empty for nowhere. It is a path of ours.
	Link  string `json:"l,omitempty"`
	Label string `json:"b,omitempty"`
	// Undo takes back what was pressed: it is posted to UndoAt, with Back as the page
	// to go on with; empty where it can't be.
	Undo   string `json:"u,omitempty"`
	UndoAt string `json:"a,omitempty"`
	Back   string `json:"k,omitempty"`
	// Again: what was sent was not done, and is put into its form once more.
	Again bool `json:"g,omitempty"`
}

const flashCookie = "provost_flash"

// flashLasts is how long one waits for its page, in seconds; againLasts where the
// reader has to sign in before, be it elsewhere.
const flashLasts, againLasts = 60, 15 * 60

// longestFlash is the most letters of one: a cookie holds no more than 4 KB.
const longestFlash = 700

// longestUndo is the most bytes of what takes something back.
const longestUndo = 2000

func setFlash(w http.ResponseWriter, r *http.Request, f Flash) {
	if letters := []rune(f.Text); len(letters) > longestFlash {
		f.Text = string(letters[:longestFlash]) + "…"
	}
	if len(f.Undo) > longestUndo {
		f.Undo = ""
	}
	text, err := json.Marshal(f)
	if err != nil { // strings can be written
		return
	}
	lasts := flashLasts
	if f.Again {
		lasts = againLasts
	}
	http.SetCookie(w, &http.Cookie{Name: flashCookie, Value: base64.RawURLEncoding.EncodeToString(text), Path: Path, MaxAge: lasts,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode})
}

// takeFlash returns the flash that waits, and lets no other page have it.
func takeFlash(w http.ResponseWriter, r *http.Request) *Flash {
	cookie, err := r.Cookie(flashCookie)
	if err != nil {
		return nil
	}
	http.SetCookie(w, &http.Cookie{Name: flashCookie, Path: Path, MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode})
	text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	f := new(Flash)
	if err != nil || json.Unmarshal(text, f) != nil || f.Text == "" {
		return nil
	}
	return f
}
