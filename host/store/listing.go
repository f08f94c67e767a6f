package store

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
)

// Page says which page of a listing is wanted.
type Page struct {
	// Sort is one of the listing's, with - before it for the other way; empty is
	// that of the cursor, or else the order in which the rows were made.
	Sort string
	// Cursor is where the page before ended; empty for the first page.
	Cursor string
	Limit  int
}

// MostCounted is where counting for a person ends: beyond it there are only
// more.
const MostCounted = 10_000

// listing is how the rows of a table are listed: each sort is an index's order,
// so that a page costs no more than its rows, wherever it stands.
type listing[T any] struct {
	// name binds a cursor to the listing.
	name string
	// key tells rows of one value apart, in the order in which they were made.
	key   string
	keyOf func(*T) string
	// numbered: key is a number.
	numbered bool
	// sorts are expressions by name; that of key is "".
	sorts map[string]string
	// times are the sorts that are of times.
	times []string
	// unsorted marks its cursors: see [place].
	unsorted bool
}

// where is what rows are chosen by.
type where struct {
	from    string
	clauses []string
	args    []any
}

func (w *where) and(clause string, args ...any) {
	w.clauses, w.args = append(w.clauses, clause), append(w.args, args...)
}

// among chooses the rows that have one of some values; of none, no rows.
func (w *where) among(column string, values []string) {
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = v
	}
	if len(args) == 0 {
		w.and("1 = 0")
		return
	}
	w.and(column+" IN ("+marks(len(args))+")", args...)
}

func (w *where) text() string {
	if len(w.clauses) == 0 {
		return w.from
	}
	return w.from + " WHERE " + strings.Join(w.clauses, " AND ")
}

// place is where a page ends: the value that it is sorted by, and the key, of
// its last row.
type place struct {
	Sort  string `json:"s"`
	Value string `json:"v,omitempty"`
	Key   string `json:"k"`
	// Unsorted: what is found is too much for Sort, and comes by its numbers.
	Unsorted bool `json:"u,omitempty"`
}

// query is what reads columns of so many rows from where a page begins.
func (l *listing[T]) query(t *Tx, w where, p Page, columns string, limit int) (text string, args []any, sort string, err error) {
	from, err := l.placeOf(t, p)
	if err != nil {
		return "", nil, "", err
	}
	name, backwards := strings.CutPrefix(from.Sort, "-")
	way, than := "", ">"
	if backwards {
		way, than = " DESC", "<"
	}
	expression, order := l.sorts[name], l.key+way
	w.clauses, w.args = slices.Clone(w.clauses), slices.Clone(w.args)
	switch {
	case expression != "":
		order = expression + way + ", " + order
		if p.Cursor != "" {
			w.and("("+expression+", "+l.key+") "+than+" ("+t.valueMark(slices.Contains(l.times, name))+", ?)", from.Value, l.argument(from.Key))
		}
	case p.Cursor != "":
		w.and(l.key+" "+than+" ?", l.argument(from.Key))
	}
	return "SELECT " + columns + " FROM " + w.text() + " ORDER BY " + order + " LIMIT " + strconv.Itoa(limit), w.args, from.Sort, nil
}

// list reads a page, and where the next one begins.
func list[T any](ctx context.Context, t *Tx, l *listing[T], w where, p Page) (rows []*T, next string, err error) {
	text, args, sort, err := l.query(t, w, p, t.recordOf((*T)(nil)).columns, p.Limit+1)
	if err != nil {
		return nil, "", err
	}
	if listed != nil {
		listed(ctx, t, text, args)
	}
	if err := t.scan(ctx, &rows, text, args...); err != nil || len(rows) <= p.Limit {
		return rows, "", err
	}
	rows = rows[:p.Limit]
	next, err = l.after(ctx, t, sort, rows[p.Limit-1])
	return rows, next, err
}

// listed is told of each query of a listing, in tests.
var listed func(ctx context.Context, t *Tx, query string, args []any)

// after is the cursor of what comes after a row.
func (l *listing[T]) after(ctx context.Context, t *Tx, sort string, row *T) (string, error) {
	at := place{Sort: sort, Key: l.keyOf(row), Unsorted: l.unsorted}
	if expression := l.sorts[strings.TrimPrefix(sort, "-")]; expression != "" {
		alias, key, _ := strings.Cut(l.key, ".")
		// As the database writes it: it has a way of its own with letters' cases.
		err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT CAST("+expression+" AS TEXT) FROM "+t.recordOf((*T)(nil)).table+" AS "+alias+" WHERE "+key+" = ?"), l.argument(at.Key)).Scan(&at.Value)
		if err != nil {
			return "", err
		}
	}
	return t.store.seal(l.name, at), nil
}

// placeOf is where a page begins.
func (l *listing[T]) placeOf(t *Tx, p Page) (place, error) {
	if _, ok := l.sorts[strings.TrimPrefix(p.Sort, "-")]; !ok && p.Sort != "" {
		names := slices.DeleteFunc(slices.Sorted(maps.Keys(l.sorts)), func(s string) bool { return s == "" })
		return place{}, &host.Error{Code: host.InvalidInput, Field: "sort", Message: "there is no sort " + strconv.Quote(p.Sort) + "; there is " + strings.Join(names, ", ") + ", each with - before it for the other way"}
	}
	if p.Cursor == "" {
		return place{Sort: p.Sort}, nil
	}
	from, err := t.store.unseal(l.name, p.Cursor)
	if err != nil || p.Sort != "" && p.Sort != from.Sort {
		return place{}, &host.Error{Code: host.InvalidInput, Field: "cursor", Message: "it is none of this listing, or of another sort; begin again without one"}
	}
	return from, nil
}

func (l *listing[T]) argument(key string) any {
	if !l.numbered {
		return key
	}
	n, _ := strconv.ParseInt(key, 10, 64) // we have written it
	return n
}

// valueMark is the mark of a value that is a text here, for the comparison.
func (t *Tx) valueMark(isTime bool) string {
	if isTime && t.dialect == "postgres" {
		return "CAST(? AS TIMESTAMPTZ)"
	}
	return "?"
}

// Counted is how many rows there are, as far as they were counted.
type Counted struct {
	N int64
	// More: there are more than N, or may be.
	More bool
}

// count counts what is chosen, up to [MostCounted].
func (t *Tx) count(ctx context.Context, w where) (c Counted, err error) {
	err = t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT COUNT(*) FROM (SELECT 1 FROM "+w.text()+" LIMIT "+strconv.Itoa(MostCounted+1)+") AS counted"), t.arguments(w.args)...).Scan(&c.N)
	if c.N > MostCounted {
		c = Counted{N: MostCounted, More: true}
	}
	return c, err
}

// A cursor has a value of a row in it, which may be a person's name, and
// cursors stand in URLs and logs. So they are sealed, with a key that all
// machines have.

// readCursorKey reads the key of cursors, or makes it.
func (s *Store) readCursorKey(ctx context.Context) error {
	made := make([]byte, 32)
	_, _ = rand.Read(made) // never fails
	text := ""
	t := &Tx{dialect: s.dialect}
	if _, err := s.write.ExecContext(ctx, t.numbered("INSERT INTO host_keys (name, key) VALUES ('cursors', ?) ON CONFLICT DO NOTHING"), hex.EncodeToString(made)); err != nil {
		return err
	}
	if err := s.read.QueryRowContext(ctx, "SELECT key FROM host_keys WHERE name = 'cursors'").Scan(&text); err != nil {
		return err
	}
	key, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	s.cursors, err = cipher.NewGCMWithRandomNonce(block)
	return err
}

// Seal makes of something a text that says nothing to whoever holds it, and that
// only [Store.Unseal] takes, of any machine and for the same purpose.
func (s *Store) Seal(purpose string, text []byte) string {
	return base64.RawURLEncoding.EncodeToString(s.cursors.Seal(nil, nil, text, []byte(purpose)))
}

// Unseal is the reverse of [Store.Seal].
func (s *Store) Unseal(purpose, sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, err
	}
	return s.cursors.Open(nil, nil, b, []byte(purpose))
}

func (s *Store) seal(listing string, at place) string {
	text, _ := json.Marshal(at) // texts can be written
	return s.Seal(listing, text)
}

func (s *Store) unseal(listing, cursor string) (at place, err error) {
	text, err := s.Unseal(listing, cursor)
	if err != nil {
		return at, err
	}
	return at, json.Unmarshal(text, &at)
}

// The listings.

var userListing = &listing[userRow]{name: "users", key: "u.id", keyOf: func(r *userRow) string { return r.Id },
	sorts: map[string]string{"": "", "created": "", "username": "u.username_key"}}

// UserListFilter chooses users for a person; empty fields choose all.
type UserListFilter struct {
	// Query are beginnings of words of a username, a name or an e-mail.
	Query  string
	Active *bool
	// AppName: assigned directly.
	AppName string
	// AfterId is the last of the page before, in the order in which they were made.
	AfterId string
}

// few is how many rows are sorted, or found one by one, rather than looked for
// among all in the order of a list.
const few = 2000

// isFew tells whether a query has no more than [few] rows.
func (t *Tx) isFew(ctx context.Context, query string, args ...any) (bool, error) {
	n := 0
	err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT COUNT(*) FROM (SELECT 1 FROM "+query+" LIMIT "+strconv.Itoa(few+1)+") AS counted"), t.arguments(args)...).Scan(&n)
	return n <= few, err
}

func (t *Tx) usersWhere(ctx context.Context, f UserListFilter) (where, error) {
	w := where{from: "users AS u"}
	if f.AfterId != "" {
		w.and("u.id > ?", f.AfterId)
	}
	if f.Active != nil {
		w.and("u.is_active = ?", *f.Active)
	}
	if f.AppName != "" {
		is, err := t.isFew(ctx, "user_apps WHERE app_name = ?", f.AppName)
		if err != nil {
			return w, err
		}
		if is {
			w.and("u.id IN (SELECT user_id FROM user_apps WHERE app_name = ?)", f.AppName)
		} else {
			w.and("EXISTS (SELECT 1 FROM user_apps WHERE user_id = u.id AND app_name = ?)", f.AppName)
		}
	}
	return w, nil
}

// ListUsers lists users with their Apps.
func (t *Tx) ListUsers(ctx context.Context, f UserListFilter, p Page) (users []*host.User, next string, err error) {
	w, err := t.usersWhere(ctx, f)
	if err != nil {
		return nil, "", err
	}
	rows, next, err := find(ctx, t, userListing, w, p, t.userSearch(f.Query), func(r *userRow) int64 { return r.Number })
	if err != nil {
		return nil, "", err
	}
	users = make([]*host.User, len(rows))
	for i, r := range rows {
		if users[i], err = r.user(); err != nil {
			return nil, "", err
		}
	}
	return users, next, t.addApps(ctx, users)
}

// CountListedUsers counts them.
func (t *Tx) CountListedUsers(ctx context.Context, f UserListFilter) (Counted, error) {
	w, err := t.usersWhere(ctx, f)
	if err != nil {
		return Counted{}, err
	}
	return countFound(ctx, t, userListing, w, t.userSearch(f.Query))
}

var requestListing = &listing[host.UserProvisioningRequest]{name: "requests", key: "number", numbered: true,
	keyOf: func(r *host.UserProvisioningRequest) string { return strconv.FormatInt(r.Number, 10) },
	sorts: map[string]string{"": "", "number": ""}}

func (f RequestFilter) list() where {
	w := where{from: "user_provisioning_requests"}
	if f.After > 0 {
		w.and("number > ?", f.After)
	}
	if f.Until > 0 {
		w.and("number <= ?", f.Until)
	}
	for _, c := range []struct{ column, value string }{{"app_name", f.AppName}, {"user_id", f.UserId}, {"operation", string(f.Operation)}, {"error_code", string(f.ErrorCode)}} {
		if c.value != "" {
			w.and(c.column+" = ?", c.value)
		}
	}
	if f.Apps != nil {
		w.among("app_name", f.Apps) // and see ListRequests
	}
	if f.Approval != "" {
		w.and("approval_status = ?", string(f.Approval)) // and see states
	}
	switch {
	case f.ApproverId != "" && len(f.ApproverGroups) > 0:
		of := where{}
		of.among("approver_group", f.ApproverGroups)
		w.and("(approver_id = ? OR "+of.clauses[0]+")", append([]any{f.ApproverId}, of.args...)...)
	case f.ApproverId != "":
		w.and("approver_id = ?", f.ApproverId)
	}
	// Numbers are given in the order of time, but for a blink.
	if !f.MadeSince.IsZero() {
		w.and("number >= (SELECT number FROM user_provisioning_requests WHERE created_date >= ? ORDER BY created_date LIMIT 1)", f.MadeSince)
	}
	if !f.MadeBefore.IsZero() {
		w.and("number <= (SELECT number FROM user_provisioning_requests WHERE created_date < ? ORDER BY created_date DESC LIMIT 1)", f.MadeBefore)
	}
	return w
}

// requestsWhere is list with what was of late.
func (t *Tx) requestsWhere(ctx context.Context, f RequestFilter) (where, error) {
	w := f.list()
	if f.Since.IsZero() {
		return w, nil
	}
	const ended, open = "user_provisioning_requests WHERE completed_date >= ?", "user_provisioning_requests WHERE created_date >= ? AND completed_date IS NULL"
	is, err := t.isFew(ctx, ended, f.Since)
	if err != nil {
		return w, err
	}
	if is {
		w.and("number IN (SELECT number FROM "+ended+" UNION ALL SELECT number FROM "+open+")", f.Since, f.Since)
	} else { // among the newest there are enough
		w.and("(completed_date >= ? OR completed_date IS NULL AND created_date >= ?)", f.Since, f.Since)
	}
	return w, nil
}

// states are those that are chosen; none for all.
func (f RequestFilter) states() []host.RequestState {
	if f.Approval == host.ApprovalRequired {
		return []host.RequestState{host.StateNew}
	}
	return f.States
}

// ListRequests lists requests for a person. Each app and each state is read by
// itself, in the order of an index.
func (t *Tx) ListRequests(ctx context.Context, f RequestFilter, p Page) (rows []*host.UserProvisioningRequest, next string, err error) {
	chosen, err := t.requestsWhere(ctx, f)
	if err != nil {
		return nil, "", err
	}
	parts := apart(chosen, "app_name = ?", f.Apps)
	var all []where
	for _, part := range parts {
		var states []string
		for _, state := range f.states() {
			states = append(states, string(state))
		}
		if states == nil {
			all = append(all, part)
			continue
		}
		all = append(all, apart(part, "state = ?", states)...)
	}
	return merged(ctx, t, requestListing, all, p, func(r *host.UserProvisioningRequest) int64 { return r.Number })
}

// apart chooses the rows of each value by itself; without values all together.
func apart(w where, clause string, values []string) []where {
	if len(values) == 0 {
		return []where{w}
	}
	values = slices.Compact(slices.Sorted(slices.Values(values))) // or a row would come twice
	parts := make([]where, len(values))
	for i, v := range values {
		parts[i] = where{from: w.from, clauses: append(slices.Clone(w.clauses), clause), args: append(slices.Clone(w.args), v)}
	}
	return parts
}

// merged is a page of what each of some conditions chooses, in the order of
// numbers. No row is chosen by two.
func merged[T any](ctx context.Context, t *Tx, l *listing[T], parts []where, p Page, numberOf func(*T) int64) (rows []*T, next string, err error) {
	if len(parts) == 1 {
		return list(ctx, t, l, parts[0], p)
	}
	more := false
	for _, w := range parts {
		some, after, err := list(ctx, t, l, w, p)
		if err != nil {
			return nil, "", err
		}
		rows, more = append(rows, some...), more || after != ""
	}
	from, err := l.placeOf(t, p)
	if err != nil {
		return nil, "", err
	}
	slices.SortFunc(rows, func(a, b *T) int {
		if strings.HasPrefix(from.Sort, "-") {
			a, b = b, a
		}
		return cmp.Compare(numberOf(a), numberOf(b))
	})
	if len(rows) > p.Limit {
		rows, more = rows[:p.Limit], true
	}
	if more {
		next, err = l.after(ctx, t, from.Sort, rows[len(rows)-1])
	}
	return rows, next, err
}

// CountListedRequests counts them.
func (t *Tx) CountListedRequests(ctx context.Context, f RequestFilter) (Counted, error) {
	w, err := t.requestsWhere(ctx, f)
	if err != nil {
		return Counted{}, err
	}
	if states := f.states(); len(states) > 0 {
		w.and("state IN (" + quoted(states) + ")")
	}
	return t.count(ctx, w)
}

var accountListing = &listing[host.UserProvAccount]{name: "accounts", key: "a.number", numbered: true,
	keyOf: func(a *host.UserProvAccount) string { return strconv.FormatInt(a.Number, 10) },
	sorts: map[string]string{"": "", "number": "", "username": "LOWER(a.external_username)", "modified": "a.last_modified_date"}, times: []string{"modified"}}

func (t *Tx) accountsWhere(f AccountFilter) where {
	w := where{from: "user_prov_accounts AS a"}
	if f.After > 0 {
		w.and("a.number > ?", f.After)
	}
	for _, c := range []struct{ column, value string }{{"app_name", f.AppName}, {"user_id", f.UserId}, {"link_state", string(f.LinkState)}} {
		if c.value != "" {
			w.and("a."+c.column+" = ?", c.value)
		}
	}
	switch {
	case f.Apps == nil, f.AppName != "" && slices.Contains(f.Apps, f.AppName):
	case f.AppName != "":
		w.and("1 = 0")
	default:
		w.among("a.app_name", f.Apps)
	}
	if f.Drifted {
		w.and("a.drift IS NOT NULL")
	}
	if f.Undecided {
		w.and("a.candidates IS NOT NULL")
	}
	return w
}

// ListAccounts lists accounts for a person.
func (t *Tx) ListAccounts(ctx context.Context, f AccountFilter, p Page) ([]*host.UserProvAccount, string, error) {
	from, err := accountListing.placeOf(t, p)
	if err != nil {
		return nil, "", err
	}
	if accountListing.sorts[strings.TrimPrefix(from.Sort, "-")] != "" && f.AppName == "" {
		return nil, "", &host.Error{Code: host.InvalidInput, Field: "sort", Message: "accounts of all apps are listed by number; name an app for another sort"}
	}
	number := func(a *host.UserProvAccount) int64 { return a.Number }
	w, s := t.accountsWhere(f), t.accountSearch(f.Query)
	if !s.asked && f.AppName == "" {
		return merged(ctx, t, accountListing, apart(w, "a.app_name = ?", f.Apps), p, number)
	}
	return find(ctx, t, accountListing, w, p, s, number)
}

// listIndexes are for lists that a person looks through with a filter that leaves
// little: each in the order in which it is listed.
const listIndexes = `
CREATE INDEX accounts_drifted_modified ON user_prov_accounts (app_name, last_modified_date, number) WHERE drift IS NOT NULL;
CREATE INDEX accounts_undecided_by_username ON user_prov_accounts (app_name, LOWER(external_username), number) WHERE candidates IS NOT NULL;
CREATE INDEX accounts_undecided_modified ON user_prov_accounts (app_name, last_modified_date, number) WHERE candidates IS NOT NULL;
CREATE INDEX users_active_by_number ON users (is_active, number);
CREATE INDEX audit_by_action ON audit_entries (action, number);
CREATE INDEX audit_by_actor ON audit_entries (actor, number);
CREATE INDEX audit_of_request ON audit_entries (request_id, number) WHERE request_id <> '';
CREATE INDEX audit_not_done ON audit_entries (outcome, number) WHERE outcome <> 'done';
CREATE INDEX stagings_by_state ON user_prov_account_stagings (user_provisioning_request_id, link_state, number);
CREATE INDEX stagings_drifted ON user_prov_account_stagings (user_provisioning_request_id, number) WHERE drift IS NOT NULL;
CREATE INDEX stagings_undecided ON user_prov_account_stagings (user_provisioning_request_id, number) WHERE candidates IS NOT NULL
`

// ownListIndexes are those that the databases write in ways of their own.
var ownListIndexes = map[string]string{"sqlite": `
CREATE INDEX audit_by_noun ON audit_entries (` + nouns["sqlite"] + `, number);
CREATE INDEX stagings_by_folded_id ON user_prov_account_stagings (user_provisioning_request_id, ` + folded("sqlite", "external_user_id") + `);
CREATE INDEX stagings_by_username ON user_prov_account_stagings (user_provisioning_request_id, ` + folded("sqlite", "external_username") + `);
CREATE INDEX stagings_by_email ON user_prov_account_stagings (user_provisioning_request_id, ` + folded("sqlite", "external_email") + `);
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('user_prov_accounts', 'accounts_drifted_modified', '100000 10000 2 1'),
	('user_prov_accounts', 'accounts_undecided_by_username', '10000 10000 2 1'),
	('user_prov_accounts', 'accounts_undecided_modified', '10000 10000 2 1'),
	('audit_entries', 'audit_by_action', '1000000 20000 1'),
	('audit_entries', 'audit_by_noun', '1000000 100000 1'),
	('audit_entries', 'audit_by_actor', '1000000 20000 1'),
	('audit_entries', 'audit_of_request', '500000 5 1'),
	('audit_entries', 'audit_not_done', '10000 5000 1'),
	('audit_entries', 'audit_by_object', '1000000 100000 10 1'),
	('audit_entries', 'audit_by_time', '1000000 2'),
	('user_prov_account_stagings', 'stagings_by_state', '10000000 1000000 300000 1'),
	('user_prov_account_stagings', 'stagings_drifted', '100000 10000 1'),
	('user_prov_account_stagings', 'stagings_undecided', '10000 10000 1'),
	('user_prov_account_stagings', 'stagings_by_folded_id', '10000000 1000000 1'),
	('user_prov_account_stagings', 'stagings_by_username', '10000000 1000000 2'),
	('user_prov_account_stagings', 'stagings_by_email', '10000000 1000000 2');
ANALYZE sqlite_schema`, "postgres": `
CREATE INDEX audit_by_noun ON audit_entries ((` + nouns["postgres"] + `), number);
CREATE INDEX stagings_by_folded_id ON user_prov_account_stagings (user_provisioning_request_id, ` + folded("postgres", "external_user_id") + `);
CREATE INDEX stagings_by_username ON user_prov_account_stagings (user_provisioning_request_id, ` + folded("postgres", "external_username") + `);
CREATE INDEX stagings_by_email ON user_prov_account_stagings (user_provisioning_request_id, ` + folded("postgres", "external_email") + `)`}

// folded is a column in small letters, and in the order of their bytes, in which
// what begins with something stands together.
func folded(dialect, column string) string {
	if dialect == "postgres" {
		return "(LOWER(" + column + ") COLLATE \"C\")"
	}
	return "LOWER(" + column + ")"
}

// CountListedAccounts counts them.
func (t *Tx) CountListedAccounts(ctx context.Context, f AccountFilter) (Counted, error) {
	return countFound(ctx, t, accountListing, t.accountsWhere(f), t.accountSearch(f.Query))
}

var logListing = &listing[host.UserProvisioningLog]{name: "logs", key: "number", numbered: true,
	keyOf: func(l *host.UserProvisioningLog) string { return strconv.FormatInt(l.Number, 10) },
	sorts: map[string]string{"": "", "number": ""}}

// LogFilter chooses lines of logs; empty fields choose all.
type LogFilter struct {
	RequestId, UserId, Actor string
	// Apps: only of requests of these; nil for all.
	Apps []string
}

// ListLogs lists lines of the logs of all requests.
func (t *Tx) ListLogs(ctx context.Context, f LogFilter, p Page) ([]*host.UserProvisioningLog, string, error) {
	w := where{from: "user_provisioning_logs"}
	for _, c := range []struct{ column, value string }{{"user_provisioning_request_id", f.RequestId}, {"user_id", f.UserId}, {"actor", f.Actor}} {
		if c.value != "" {
			w.and(c.column+" = ?", c.value)
		}
	}
	if f.Apps != nil {
		of := where{}
		of.among("r.app_name", f.Apps)
		w.and("EXISTS (SELECT 1 FROM user_provisioning_requests r WHERE r.id = user_provisioning_request_id AND "+of.clauses[0]+")", of.args...)
	}
	return list(ctx, t, logListing, w, p)
}

// marks are n marks for values.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// listingIndexes are those of the listings' orders. host_keys has what machines share: see
// [Store.readCursorKey].
const listingIndexes = `
CREATE TABLE host_keys (name TEXT PRIMARY KEY, key TEXT NOT NULL);
DROP INDEX requests_by_state;
CREATE INDEX requests_by_state ON user_provisioning_requests (app_name, state, number);
CREATE INDEX requests_in_state ON user_provisioning_requests (state, number);
CREATE INDEX requests_of_app ON user_provisioning_requests (app_name, number);
CREATE INDEX requests_of_user ON user_provisioning_requests (user_id, number) WHERE user_id IS NOT NULL;
CREATE INDEX requests_of_operation ON user_provisioning_requests (operation, number);
CREATE INDEX requests_with_error ON user_provisioning_requests (error_code, number) WHERE error_code IS NOT NULL;
CREATE INDEX requests_of_approver ON user_provisioning_requests (approver_id, number) WHERE approver_id IS NOT NULL;
CREATE INDEX requests_of_approvers ON user_provisioning_requests (approver_group, number) WHERE approver_group IS NOT NULL;
CREATE INDEX requests_made ON user_provisioning_requests (created_date);
CREATE INDEX accounts_of_user ON user_prov_accounts (user_id, number) WHERE user_id IS NOT NULL;
CREATE INDEX accounts_in_link_state ON user_prov_accounts (link_state, number);
CREATE INDEX accounts_that_drifted ON user_prov_accounts (number) WHERE drift IS NOT NULL;
CREATE INDEX accounts_to_decide ON user_prov_accounts (number) WHERE candidates IS NOT NULL;
CREATE INDEX accounts_by_state_and_username ON user_prov_accounts (app_name, link_state, LOWER(external_username), number);
CREATE INDEX accounts_drifted_by_username ON user_prov_accounts (app_name, LOWER(external_username), number) WHERE drift IS NOT NULL;
CREATE INDEX accounts_modified ON user_prov_accounts (app_name, last_modified_date, number);
CREATE INDEX accounts_modified_in_state ON user_prov_accounts (app_name, link_state, last_modified_date, number);
CREATE INDEX users_active ON users (is_active, id);
CREATE INDEX users_active_by_username ON users (is_active, username_key, id);
CREATE INDEX users_of_profile ON users ((document ->> 'Profile')) WHERE is_active;
CREATE INDEX user_apps_by_app ON user_apps (app_name, user_id);
CREATE INDEX logs_of_user ON user_provisioning_logs (user_id, number) WHERE user_id IS NOT NULL
`

// searched is what an account is found by.
func searched(row string) string {
	return row + ".external_user_id || ' ' || " + row + ".external_username || ' ' || " + row + ".external_first_name || ' ' || " + row + ".external_last_name || ' ' || " + row + ".external_email"
}

// signs stand between words, those that PostgreSQL's parser may take for a part
// of one.
const signs = "!\"#$%&()*+,-./:;<=>@[\\]^_`{|}~"

// searchedWords are the words of an account, for PostgreSQL. Its own parser takes
// an e-mail for one word.
func searchedWords(row string) string {
	return "to_tsvector('simple', translate(LOWER(" + searched(row) + "), '" + signs + "', '" + strings.Repeat(" ", len(signs)) + "'))"
}

// accountSearch finds accounts by the beginnings of words: no extension of
// PostgreSQL is needed, which not everybody may install, and which a backup of a
// schema has not.
var accountSearch = map[string]string{"sqlite": `
CREATE VIRTUAL TABLE account_search USING fts5(words, content='', detail='none', prefix='1 2 3 4', tokenize='unicode61 remove_diacritics 0');
INSERT INTO account_search (account_search, rank) VALUES ('secure-delete', 1);
INSERT INTO account_search (rowid, words) SELECT number, ` + searched("a") + ` FROM user_prov_accounts AS a;
CREATE TRIGGER account_search_new AFTER INSERT ON user_prov_accounts BEGIN INSERT INTO account_search (rowid, words) VALUES (NEW.number, ` + searched("NEW") + `); END;
CREATE TRIGGER account_search_gone AFTER DELETE ON user_prov_accounts BEGIN INSERT INTO account_search (account_search, rowid, words) VALUES ('delete', OLD.number, ` + searched("OLD") + `); END;
CREATE TRIGGER account_search_changed AFTER UPDATE OF external_user_id, external_username, external_first_name, external_last_name, external_email ON user_prov_accounts
WHEN ` + searched("OLD") + ` <> ` + searched("NEW") + ` BEGIN INSERT INTO account_search (account_search, rowid, words) VALUES ('delete', OLD.number, ` + searched("OLD") + `); INSERT INTO account_search (rowid, words) VALUES (NEW.number, ` + searched("NEW") + `); END;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
	('user_prov_accounts', 'accounts_of_user', '10000000 3 1'),
	('user_prov_accounts', 'accounts_in_link_state', '10000000 3000000 1'),
	('user_prov_accounts', 'accounts_that_drifted', '100000 1'),
	('user_prov_accounts', 'accounts_to_decide', '10000 1'),
	('user_prov_accounts', 'accounts_by_state_and_username', '10000000 1000000 300000 2 1'),
	('user_prov_accounts', 'accounts_drifted_by_username', '100000 10000 2 1'),
	('user_prov_accounts', 'accounts_modified', '10000000 1000000 10 1'),
	('user_prov_accounts', 'accounts_modified_in_state', '10000000 1000000 300000 10 1');
ANALYZE sqlite_schema
`, "postgres": "CREATE INDEX account_search ON user_prov_accounts USING gin (" + searchedWords("user_prov_accounts") + ")"}

// userWords are the words of a user, for PostgreSQL.
func userWords(row string) string {
	return "to_tsvector('simple', translate(" + row + ".search, '" + signs + "', '" + strings.Repeat(" ", len(signs)) + "'))"
}

// userSearch finds users by the beginnings of words, as accountSearch does
// accounts. SQLite needs a number of each for it.
var userSearch = map[string]string{"sqlite": `
ALTER TABLE users ADD COLUMN number INTEGER;
UPDATE users SET number = rowid;
CREATE UNIQUE INDEX users_by_number ON users (number);
CREATE VIRTUAL TABLE user_search USING fts5(words, content='', detail='none', prefix='1 2 3 4', tokenize='unicode61 remove_diacritics 0');
INSERT INTO user_search (user_search, rank) VALUES ('secure-delete', 1);
INSERT INTO user_search (rowid, words) SELECT number, search FROM users;
CREATE TRIGGER user_search_new AFTER INSERT ON users BEGIN UPDATE users SET number = (SELECT COALESCE(MAX(number), 0) + 1 FROM users) WHERE id = NEW.id; INSERT INTO user_search (rowid, words) SELECT number, search FROM users WHERE id = NEW.id; END;
CREATE TRIGGER user_search_gone AFTER DELETE ON users BEGIN INSERT INTO user_search (user_search, rowid, words) VALUES ('delete', OLD.number, OLD.search); END;
CREATE TRIGGER user_search_changed AFTER UPDATE OF search ON users WHEN OLD.search <> NEW.search BEGIN INSERT INTO user_search (user_search, rowid, words) VALUES ('delete', OLD.number, OLD.search); INSERT INTO user_search (rowid, words) VALUES (NEW.number, NEW.search); END
`, "postgres": "ALTER TABLE users ADD COLUMN number BIGINT GENERATED BY DEFAULT AS IDENTITY;\nCREATE UNIQUE INDEX users_by_number ON users (number);\nCREATE INDEX user_search ON users USING gin (" + userWords("users") + ")"}
