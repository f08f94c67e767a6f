package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/provosthq/provost/host"
)

// Tx is one transaction. It is for one goroutine.
type Tx struct {
	db      bun.Tx
	bun     *bun.DB
	store   *Store
	dialect string
	// audit is what is told at the end.
	audit []host.AuditEntry
	began time.Time
	after []func()
}

// SQL is the transaction itself, for the queue.
func (t *Tx) SQL() *sql.Tx { return t.db.Tx }

func notFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return host.Errorf(host.NotFound, format, args...)
	}
	return err
}

// userRow is how a user is stored: what is searched for in columns, all of it
// as a document.
type userRow struct {
	bun.BaseModel `bun:"table:users"`
	Id            string `bun:",pk"`
	Username      string
	UsernameKey   string
	FirstName     string
	LastName      string
	Email         string
	IsActive      bool
	Search        string
	Document      json.RawMessage `bun:"type:json"`
	// Number is what a search finds it by.
	Number int64 `bun:",nullzero"`
}

func (r *userRow) user() (*host.User, error) {
	u := new(host.User)
	return u, json.Unmarshal(r.Document, u)
}

func usernameKey(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// User returns a user by id.
func (t *Tx) User(ctx context.Context, id string) (*host.User, error) {
	return t.userWhere(ctx, "id = ?", id)
}

// UserByUsername returns a user; case does not matter.
func (t *Tx) UserByUsername(ctx context.Context, name string) (*host.User, error) {
	return t.userWhere(ctx, "username_key = ?", usernameKey(name))
}

func (t *Tx) userWhere(ctx context.Context, where, value string) (*host.User, error) {
	var r userRow
	if err := t.one(ctx, &r, where, value); err != nil {
		return nil, notFound(err, "there is no user %q", value)
	}
	u, err := r.user()
	if err != nil {
		return nil, err
	}
	u.Apps, err = t.UserApps(ctx, u.Id)
	return u, err
}

// UserFilter chooses users, ordered by id.
type UserFilter struct {
	AfterId string
	Limit   int
}

// Users lists users without their Apps.
func (t *Tx) Users(ctx context.Context, f UserFilter) ([]*host.User, error) {
	var rows []userRow
	q := t.db.NewSelect().Model(&rows).Where("id > ?", f.AfterId).OrderExpr("id").Limit(int64(f.Limit))
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	users := make([]*host.User, len(rows))
	for i := range rows {
		u, err := rows[i].user()
		if err != nil {
			return nil, err
		}
		users[i] = u
	}
	return users, nil
}

func like(part string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(part)) + "%"
}

// PutUser stores a user, new or changed.
func (t *Tx) PutUser(ctx context.Context, u *host.User) error {
	bare := *u
	bare.Apps = nil
	doc, err := json.Marshal(&bare)
	if err != nil {
		return err
	}
	r := userRow{Id: u.Id, Username: u.Username, UsernameKey: usernameKey(u.Username), FirstName: u.FirstName, LastName: u.LastName,
		Email: u.Email, IsActive: u.IsActive, Document: doc,
		Search: strings.ToLower(strings.Join([]string{u.Username, u.FirstName, u.LastName, u.Email}, " "))}
	_, err = t.exec(ctx, `INSERT INTO users (id, username, username_key, first_name, last_name, email, is_active, search, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET username = EXCLUDED.username, username_key = EXCLUDED.username_key, first_name = EXCLUDED.first_name, last_name = EXCLUDED.last_name,
		email = EXCLUDED.email, is_active = EXCLUDED.is_active, search = EXCLUDED.search, document = EXCLUDED.document`,
		r.Id, r.Username, r.UsernameKey, r.FirstName, r.LastName, r.Email, r.IsActive, r.Search, string(r.Document))
	return err
}

// CountUsers counts all users.
func (t *Tx) CountUsers(ctx context.Context) (int64, error) {
	n, err := t.db.NewSelect().Model((*userRow)(nil)).Count(ctx)
	return int64(n), err
}

// UserApps names the apps that a user is assigned directly.
func (t *Tx) UserApps(ctx context.Context, userID string) ([]string, error) {
	var names []string
	return names, t.scan(ctx, &names, "SELECT app_name FROM user_apps WHERE user_id = ? ORDER BY app_name", userID)
}

// SetUserApp assigns a user an app, or takes it.
func (t *Tx) SetUserApp(ctx context.Context, userID, app string, assigned bool) error {
	var err error
	if assigned {
		_, err = t.exec(ctx, "INSERT INTO user_apps (user_id, app_name) VALUES (?, ?) ON CONFLICT DO NOTHING", userID, app)
	} else {
		_, err = t.db.NewRaw("DELETE FROM user_apps WHERE user_id = ? AND app_name = ?", userID, app).Exec(ctx)
	}
	return err
}

// PutApp stores an app by its name and keeps its id.
func (t *Tx) PutApp(ctx context.Context, a *host.ConnectedApp) error {
	if a.Id == "" {
		a.Id = host.NewID()
	}
	return t.db.NewRaw("INSERT INTO connected_apps (id, name, label) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET label = EXCLUDED.label RETURNING id", a.Id, a.Name, a.Label).Scan(ctx, &a.Id)
}

// PutConfig stores an app's config and keeps its id.
func (t *Tx) PutConfig(ctx context.Context, c *host.UserProvisioningConfig) error {
	if old, err := t.Config(ctx, c.AppName); err == nil {
		c.Id = old.Id
	} else if host.CodeOf(err) != host.NotFound {
		return err
	}
	if c.Id == "" {
		c.Id = host.NewID()
	}
	doc, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = t.db.NewRaw("INSERT INTO user_provisioning_configs (id, app_name, document) VALUES (?, ?, ?) ON CONFLICT (app_name) DO UPDATE SET document = EXCLUDED.document", c.Id, c.AppName, string(doc)).Exec(ctx)
	return err
}

// Config returns an app's config.
func (t *Tx) Config(ctx context.Context, app string) (*host.UserProvisioningConfig, error) {
	var doc string
	if err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT document FROM user_provisioning_configs WHERE app_name = ?"), app).Scan(&doc); err != nil {
		return nil, notFound(err, "there is no app %q", app)
	}
	return t.store.config(app, doc)
}

// Configs returns the config of every app, by name.
func (t *Tx) Configs(ctx context.Context) ([]*host.UserProvisioningConfig, error) {
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered("SELECT app_name, document FROM user_provisioning_configs WHERE app_name > ? ORDER BY app_name"), "")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*host.UserProvisioningConfig
	for rows.Next() {
		var app, doc string
		if err := rows.Scan(&app, &doc); err != nil {
			return nil, err
		}
		c, err := t.store.config(app, doc)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// config reads an app's document, unless it is the one that was read last.
func (s *Store) config(app, doc string) (*host.UserProvisioningConfig, error) {
	type known struct {
		doc    string
		config host.UserProvisioningConfig
	}
	if k, ok := s.configs.Load(app); ok && k.(known).doc == doc {
		c := k.(known).config
		return &c, nil
	}
	c := new(host.UserProvisioningConfig)
	if err := json.Unmarshal([]byte(doc), c); err != nil {
		return nil, err
	}
	s.configs.Store(app, known{doc, *c})
	return c, nil
}

// InsertRequest stores a new request and fills its Number.
func (t *Tx) InsertRequest(ctx context.Context, r *host.UserProvisioningRequest) error {
	if err := t.insert(ctx, r, &r.Number); err != nil {
		return err
	}
	if run := host.DryRunOf(ctx); run != nil {
		run.Made(r)
	}
	return nil
}

// Request returns a request by id.
func (t *Tx) Request(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	r := new(host.UserProvisioningRequest)
	err := t.one(ctx, r, "id = ?", id)
	return r, notFound(err, "there is no request %s", id)
}

// LaneOf returns a request of which only AppName, UserId and UserProvAccountId
// are filled in: where it stands.
func (t *Tx) LaneOf(ctx context.Context, id string) (*host.UserProvisioningRequest, error) {
	r := &host.UserProvisioningRequest{Id: id}
	err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT app_name, COALESCE(user_id, ''), COALESCE(user_prov_account_id, '') FROM user_provisioning_requests WHERE id = ?"), id).
		Scan(&r.AppName, &r.UserId, &r.UserProvAccountId)
	return r, notFound(err, "there is no request %s", id)
}

// RequestByNumber returns UPR-n.
func (t *Tx) RequestByNumber(ctx context.Context, n int64) (*host.UserProvisioningRequest, error) {
	r := new(host.UserProvisioningRequest)
	err := t.one(ctx, r, "number = ?", n)
	return r, notFound(err, "there is no request UPR-%06d", n)
}

// RequestFilter chooses requests, ordered by number.
type RequestFilter struct {
	AppName string
	// Apps: only of these; nil for all. For ListRequests only.
	Apps      []string
	UserId    string
	States    []host.RequestState
	Operation host.Operation
	// Approval is an ApprovalStatus; Required only of those that wait for it.
	// With ApproverId or ApproverGroups only what is for that user, or for one of
	// those groups.
	Approval       host.ApprovalStatus
	ApproverId     string
	ApproverGroups []string
	ErrorCode      host.Code
	// Since: ended, or else made, at that time or after.
	Since time.Time
	// MadeSince and MadeBefore are of when they were made.
	MadeSince, MadeBefore time.Time
	// After and Until (0 for none) are Numbers: the first is left out, the last is
	// not.
	After, Until int64
	Limit        int
}

// Requests lists requests.
func (t *Tx) Requests(ctx context.Context, f RequestFilter) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, f.where(t.db.NewSelect().Model(&list)).Scan(ctx)
}

func (f RequestFilter) where(q *bun.SelectQuery) *bun.SelectQuery {
	q = q.Where("number > ?", f.After).OrderExpr("number").Limit(int64(f.Limit))
	if f.AppName != "" {
		q = q.Where("app_name = ?", f.AppName)
	}
	if f.UserId != "" {
		q = q.Where("user_id = ?", f.UserId)
	}
	if len(f.States) > 0 {
		q = q.Where("state IN (?)", bun.List(f.States))
	}
	if f.Operation != "" {
		q = q.Where("operation = ?", f.Operation)
	}
	if f.Approval != "" {
		q = q.Where("approval_status = ?", f.Approval)
		if f.Approval == host.ApprovalRequired {
			q = q.Where("state = ?", host.StateNew)
		}
	}
	switch {
	case f.ApproverId != "" && len(f.ApproverGroups) > 0:
		q = q.Where("(approver_id = ? OR approver_group IN (?))", f.ApproverId, bun.List(f.ApproverGroups))
	case f.ApproverId != "":
		q = q.Where("approver_id = ?", f.ApproverId)
	}
	if f.ErrorCode != "" {
		q = q.Where("error_code = ?", f.ErrorCode)
	}
	if !f.Since.IsZero() {
		q = q.Where("COALESCE(completed_date, created_date) >= ?", f.Since.UTC())
	}
	if f.Until > 0 {
		q = q.Where("number <= ?", f.Until)
	}
	return q
}

// UpdateRequest stores a request if nobody began another attempt since it was
// at expectAttempt, and if its state may follow the stored one. Otherwise it
// is a Conflict, and nothing is stored.
func (t *Tx) UpdateRequest(ctx context.Context, r *host.UserProvisioningRequest, expectAttempt int) error {
	if done, err := t.change(ctx, r, "id = ? AND attempt = ? AND state IN ("+mayBecome(r.State)+")", r.Id, expectAttempt); err != nil || done {
		return err
	}
	var state host.RequestState
	var attempt int
	if err := t.db.Tx.QueryRowContext(ctx, t.numbered("SELECT state, attempt FROM user_provisioning_requests WHERE id = ?"), r.Id).Scan(&state, &attempt); err != nil {
		return notFound(err, "there is no request %s", r.Id)
	}
	if attempt != expectAttempt {
		return host.Errorf(host.Conflict, "%s: another worker has begun attempt %d", r.Name(), attempt)
	}
	return host.Errorf(host.Conflict, "%s is %s and can't become %s", r.Name(), state, r.State)
}

// mayBecome lists the states from which a request may become next, and next
// itself.
func mayBecome(next host.RequestState) string {
	from := []host.RequestState{next}
	for _, t := range host.Transitions() {
		if t.To == next {
			from = append(from, t.From)
		}
	}
	return quoted(from)
}

// CountRequestsByState counts an app's requests, those that were pruned too.
func (t *Tx) CountRequestsByState(ctx context.Context, app string) (map[host.RequestState]int64, error) {
	return counts[host.RequestState](ctx, t, `SELECT state, SUM(n) FROM (SELECT state, COUNT(*) AS n FROM user_provisioning_requests WHERE app_name = ? GROUP BY state
		UNION ALL SELECT state, CAST(SUM(requests) AS BIGINT) FROM pruned_requests WHERE app_name = ? GROUP BY state) AS counted GROUP BY state`, app, app)
}

func counts[K ~string](ctx context.Context, t *Tx, query string, args ...any) (map[K]int64, error) {
	rows, err := t.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	m := map[K]int64{}
	for rows.Next() {
		var k K
		var n int64
		if err := rows.Scan(&k, &n); err != nil {
			return nil, err
		}
		m[k] = n
	}
	return m, rows.Err()
}

// LockLane makes every other transaction that wants the lane of a user, or of
// an account of nobody (account:ID), in an app wait until this one ends. The
// lock is that of the row: an import takes a hundred thousand of them, and
// PostgreSQL has room for a few thousand locks of other kinds.
func (t *Tx) LockLane(ctx context.Context, _, lane string) error {
	if t.dialect == "sqlite" {
		return nil // there is one transaction that writes at a time
	}
	table, id := "users", lane
	if account, is := strings.CutPrefix(lane, "account:"); is {
		table, id = "user_prov_accounts", account
	}
	_, err := t.exec(ctx, "SELECT 1 FROM "+table+" WHERE id = ? FOR NO KEY UPDATE", id)
	return err
}

// lock makes every other transaction that wants the same name wait until this
// one ends.
func (t *Tx) lock(ctx context.Context, name string) error {
	if t.dialect == "sqlite" {
		return nil
	}
	_, err := t.exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended(?, 7207))", name)
	return err
}

// OpenLaneRequests returns the requests of a lane that have not ended, oldest
// first.
func (t *Tx) OpenLaneRequests(ctx context.Context, app, userID string) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvisioningRequest)(nil)).columns+
		" FROM user_provisioning_requests WHERE app_name = ? AND user_id = ? AND state NOT IN ("+ended+") ORDER BY number LIMIT 10000", app, userID)
}

// OpenAccountRequests returns the requests of an account of nobody that have
// not ended, oldest first.
func (t *Tx) OpenAccountRequests(ctx context.Context, accountID string) ([]*host.UserProvisioningRequest, error) {
	var list []*host.UserProvisioningRequest
	return list, t.scan(ctx, &list, "SELECT "+t.recordOf((*host.UserProvisioningRequest)(nil)).columns+
		" FROM user_provisioning_requests WHERE user_prov_account_id = ? AND user_id IS NULL AND state NOT IN ("+ended+") ORDER BY number LIMIT 10000", accountID)
}

// ended are the states in which nothing more happens to a request.
var ended = func() string {
	var list []host.RequestState
	for _, s := range host.RequestStates {
		if s.Ended() {
			list = append(list, s)
		}
	}
	return quoted(list)
}()

// Account returns an account by id or by name (UPA-000042).
func (t *Tx) Account(ctx context.Context, id string) (*host.UserProvAccount, error) {
	var n int64
	if _, err := fmt.Sscanf(id, "UPA-%d", &n); err == nil {
		return t.account(ctx, "number = ?", n)
	}
	return t.account(ctx, "id = ?", id)
}

// AccountByExternalId returns the account with the target's id.
func (t *Tx) AccountByExternalId(ctx context.Context, app, externalID string) (*host.UserProvAccount, error) {
	return t.account(ctx, "app_name = ? AND external_user_id = ?", app, externalID)
}

// AccountByUser returns the account that is linked to a user and not gone.
func (t *Tx) AccountByUser(ctx context.Context, app, userID string) (*host.UserProvAccount, error) {
	return t.account(ctx, "app_name = ? AND user_id = ? AND link_state = 'linked' AND deleted_date IS NULL", app, userID)
}

func (t *Tx) account(ctx context.Context, where string, args ...any) (*host.UserProvAccount, error) {
	a := new(host.UserProvAccount)
	err := t.one(ctx, a, where, args...)
	return a, notFound(err, "there is no such account")
}

// AccountFilter chooses accounts, ordered by number.
type AccountFilter struct {
	AppName string
	// Apps: only of these; nil for all. For ListAccounts only.
	Apps      []string
	UserId    string
	LinkState host.LinkState
	Drifted   bool
	// Undecided: a person must say whose they are.
	Undecided bool
	// Query are beginnings of words of an id, a username, a name or an e-mail; for
	// ListAccounts only.
	Query string
	After int64
	Limit int
}

// Accounts lists accounts.
func (t *Tx) Accounts(ctx context.Context, f AccountFilter) ([]*host.UserProvAccount, error) {
	var list []*host.UserProvAccount
	q := t.db.NewSelect().Model(&list).Where("number > ?", f.After).OrderExpr("number").Limit(int64(f.Limit))
	if f.AppName != "" {
		q = q.Where("app_name = ?", f.AppName)
	}
	if f.UserId != "" {
		q = q.Where("user_id = ?", f.UserId)
	}
	if f.LinkState != "" {
		q = q.Where("link_state = ?", f.LinkState)
	}
	if f.Drifted {
		q = q.Where("drift IS NOT NULL")
	}
	return list, q.Scan(ctx)
}

// PutAccount stores an account, new (Number 0) or changed.
func (t *Tx) PutAccount(ctx context.Context, a *host.UserProvAccount) error {
	if a.Number == 0 {
		return t.insert(ctx, a, &a.Number)
	}
	_, err := t.change(ctx, a, "id = ?", a.Id)
	return err
}

// InsertLog stores a line of a request's log.
func (t *Tx) InsertLog(ctx context.Context, l *host.UserProvisioningLog) error {
	return t.insert(ctx, l, &l.Number)
}

// Logs returns a request's log, oldest first.
func (t *Tx) Logs(ctx context.Context, requestID string) ([]*host.UserProvisioningLog, error) {
	var list []*host.UserProvisioningLog
	return list, t.db.NewSelect().Model(&list).Where("user_provisioning_request_id = ?", requestID).OrderExpr("number").Scan(ctx)
}

// InsertReconPage notes that a run has seen an offset; again is a Conflict.
func (t *Tx) InsertReconPage(ctx context.Context, requestID, offset string, accounts int) error {
	result, err := t.db.NewRaw("INSERT INTO recon_pages (user_provisioning_request_id, recon_offset, accounts) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", requestID, offset, accounts).Exec(ctx)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return host.Errorf(host.Conflict, "the offset %q was seen before in this run", offset)
}

// PutStaging stages accounts; one that this run has seen before is replaced by
// what was seen last.
func (t *Tx) PutStaging(ctx context.Context, list []*host.UserProvAccountStaging) error {
	if len(list) == 0 {
		return nil
	}
	last := map[string]int{} // one statement can't touch a row twice
	var rows []*host.UserProvAccountStaging
	for _, s := range list {
		if i, ok := last[s.ExternalUserId]; ok {
			rows[i] = s
			continue
		}
		last[s.ExternalUserId] = len(rows)
		rows = append(rows, s)
	}
	set := ""
	for _, c := range []string{"external_username", "external_first_name", "external_last_name", "external_email", "status", "attributes", "version", "partial", "change"} {
		set += ", " + c + " = EXCLUDED." + c
	}
	_, err := t.db.NewInsert().Model(&rows).ExcludeColumn("number").On("CONFLICT (user_provisioning_request_id, external_user_id) DO UPDATE").Set(set[2:]).Returning("NULL").Exec(ctx)
	return err
}

// Staging returns staged accounts in the order of their numbers.
func (t *Tx) Staging(ctx context.Context, requestID string, after int64, limit int) ([]*host.UserProvAccountStaging, error) {
	var list []*host.UserProvAccountStaging
	return list, t.db.NewSelect().Model(&list).Where("user_provisioning_request_id = ? AND number > ?", requestID, after).OrderExpr("number").Limit(int64(limit)).Scan(ctx)
}

// CountStaging counts what a run has staged.
func (t *Tx) CountStaging(ctx context.Context, requestID string) (int64, error) {
	n, err := t.db.NewSelect().Model((*host.UserProvAccountStaging)(nil)).Where("user_provisioning_request_id = ?", requestID).Count(ctx)
	return int64(n), err
}

// TouchConfig notes the end of a run on the app's config.
func (t *Tx) TouchConfig(ctx context.Context, app string, at time.Time, token string) error {
	c, err := t.Config(ctx, app)
	if err != nil {
		return err
	}
	c.LastReconDateTime, c.LastReconToken = &at, token
	return t.PutConfig(ctx, c)
}
