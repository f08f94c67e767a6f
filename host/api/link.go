package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/provosthq/provost/host"
)

// LinkService is what the API needs to say of many accounts of an app whose they
// are.
type LinkService interface {
	// Relink says it of all of them or of none.
	Relink(ctx context.Context, app string, c LinkChange) (Relinked, error)
	// UndoRelink takes a change back, of all of its accounts or of none: a Conflict
	// where one has been changed since. It returns how many they are.
	UndoRelink(ctx context.Context, app, undo string) (int64, error)
}

// MostRelinked is the most accounts of one [LinkChange].
const MostRelinked = 1000

// LinkChange is what a person says of accounts.
type LinkChange struct {
	Verb     string   `json:"verb" enum:"link,unlink,ignore"`
	Accounts []string `json:"accounts" minItems:"1" maxItems:"1000" doc:"Ids or names (UPA-000042)"`
	User     string   `json:"user,omitempty" doc:"With link: whose the one account is, id or username"`
}

// Relinked is what came of a [LinkChange].
type Relinked struct {
	Accounts int64 `json:"accounts"`
	// Undo takes it back; it is sealed.
	Undo string `json:"undo" doc:"What takes it back"`
}

func links(a huma.API, s LinkService) {
	huma.Post(a, "/api/v1/apps/{app}/accounts/links", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		Body LinkChange
	}) (*body[Relinked], error) {
		return answer(s.Relink(ctx, in.App, in.Body))
	})
	huma.Post(a, "/api/v1/apps/{app}/accounts/undo", func(ctx context.Context, in *struct {
		App  string `path:"app"`
		Body struct {
			Undo string `json:"undo" maxLength:"1048576" doc:"As it was answered to the change"`
		}
	}) (*body[Relinked], error) {
		n, err := s.UndoRelink(ctx, in.App, in.Body.Undo)
		return answer(Relinked{Accounts: n}, err)
	})
}

// AccountFormats are those that accounts are exported in, with their types.
var AccountFormats = map[string]string{"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/jsonl"}

// AccountLister is what an export needs.
type AccountLister interface {
	Accounts(ctx context.Context, f AccountFilter) (Listing[*host.UserProvAccount], error)
	Usernames(ctx context.Context, ids []string) (map[string]string, error)
}

// ExportedAccount is an account as it is exported.
type ExportedAccount struct {
	*Account
	Username string `json:"Username,omitempty"`
}

// ServeAccounts answers with accounts in one of [AccountFormats], as a file. They
// stream: where it fails after it has begun, the connection is cut, so that half
// of it can't be taken for the whole. An error says that it has not begun.
func ServeAccounts(w http.ResponseWriter, r *http.Request, s AccountLister, f AccountFilter, format string) error {
	contentType, ok := AccountFormats[format]
	if !ok {
		return &host.Error{Code: host.InvalidInput, Field: "format", Message: "there is csv and jsonl"}
	}
	f.Paging = Paging{Limit: exportAtOnce}
	write := accountWriter(w, format)
	rc := http.NewResponseController(w)
	for begun := false; ; begun = true {
		list, err := s.Accounts(r.Context(), f)
		names := map[string]string{}
		if err == nil {
			names, err = s.Usernames(r.Context(), ownersOf(list.Rows))
		}
		if err != nil && !begun {
			return err
		} else if err != nil {
			panic(http.ErrAbortHandler)
		}
		if !begun {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Content-Disposition", `attachment; filename="accounts.`+format+`"`)
		}
		if err := write(list.Rows, names); err != nil {
			return nil // who asked is gone
		}
		_ = rc.Flush() // not every writer knows it
		if list.Next == "" {
			return nil
		}
		f.Cursor = list.Next
	}
}

func ownersOf(list []*host.UserProvAccount) (ids []string) {
	for _, a := range list {
		if a.UserId != "" {
			ids = append(ids, a.UserId)
		}
	}
	return ids
}

// accountWriter writes pages of accounts in a format.
func accountWriter(w io.Writer, format string) func(list []*host.UserProvAccount, names map[string]string) error {
	if format == "jsonl" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(list []*host.UserProvAccount, names map[string]string) error {
			for _, a := range list {
				if err := enc.Encode(ExportedAccount{shownAccount(a), names[a.UserId]}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	out, headed := csv.NewWriter(w), false
	return func(list []*host.UserProvAccount, names map[string]string) error {
		if !headed {
			headed = true
			if err := out.Write(accountColumns); err != nil {
				return err
			}
		}
		for _, a := range list {
			if err := out.Write(accountCells(a, names[a.UserId])); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	}
}

var accountColumns = []string{"Name", "AppName", "LinkState", "Username", "UserId", "ExternalUsername", "ExternalEmail", "ExternalFirstName", "ExternalLastName",
	"ExternalUserId", "Status", "Active", "Frozen", "IsKnownLink", "Differs", "LastModifiedDate", "DeletedDate"}

func accountCells(a *host.UserProvAccount, username string) []string {
	var differs []string
	for _, d := range a.Drift {
		differs = append(differs, d.Path)
	}
	deleted := ""
	if a.DeletedDate != nil {
		deleted = a.DeletedDate.UTC().Format(time.RFC3339)
	}
	cells := []string{a.Name(), a.AppName, string(a.LinkState), username, a.UserId, a.ExternalUsername, a.ExternalEmail, a.ExternalFirstName, a.ExternalLastName,
		a.ExternalUserId, a.Status, strconv.FormatBool(a.Active), strconv.FormatBool(a.Frozen), strconv.FormatBool(a.IsKnownLink), strings.Join(differs, " "),
		a.LastModifiedDate.UTC().Format(time.RFC3339), deleted}
	for i, cell := range cells {
		cells[i] = plainCell(cell)
	}
	return cells
}

// plainCell keeps a spreadsheet from taking for a formula what somebody else has
// written (CSV injection): what would begin one gets an apostrophe before it.
func plainCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n|%＝＋－＠", []rune(s)[0]) {
		return "'" + s
	}
	return s
}

// exportAccounts is the route of an export.
func exportAccounts(s Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		drifted, _ := strconv.ParseBool(q.Get("drifted"))
		undecided, _ := strconv.ParseBool(q.Get("undecided"))
		format := q.Get("format")
		if format == "" {
			format = "csv"
		}
		f := AccountFilter{App: r.PathValue("app"), State: host.LinkState(q.Get("state")), Drifted: drifted, Undecided: undecided, Query: q.Get("query")}
		if err := ServeAccounts(w, r, s, f, format); err != nil {
			problem(err).write(w)
		}
	}
}
