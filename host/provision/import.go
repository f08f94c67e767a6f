package provision

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/provosthq/provost/host"
	"github.com/provosthq/provost/pdk"
)

// ImportOptions say how a file of users is taken in.
type ImportOptions struct {
	// Name is the file's name, for messages; Format is csv, json or jsonl.
	Name, Format string
	// Key is the field that tells who is who; Username if empty.
	Key string
	// Prune disables the users that the file does not have.
	Prune bool
	// KeepGoing takes the good rows and reports the bad ones.
	KeepGoing bool
	// Assign names apps that every imported user is assigned.
	Assign []string
	// MostDisabled is how many users Prune may disable; more of them wait in
	// quarantine for a person. A share stops no import of Smallest or fewer.
	MostDisabled host.Threshold
	Smallest     int64
	// Progress is told how many rows are done; may be nil.
	Progress func(done, total int64)
	// Imported is called at the end of the transaction, and may refuse it; may be
	// nil.
	Imported func(context.Context, Tx, ImportResult) error
}

// ImportResult counts what an import did.
type ImportResult struct {
	Created, Updated, Unchanged, Disabled, Requests int
	// Refused counts the rows that were not taken; Errors says of the first of
	// them why, with line and column.
	Refused int
	// Quarantined says why nobody was disabled, and QuarantinePlan is the plan
	// that waits to be allowed.
	Quarantined, QuarantinePlan string
	Errors                      []string
}

// Import takes in a file of users, in one transaction. The file is read twice:
// as it comes, to find everything that is wrong with it, and from a temporary
// copy to take it in. What stays in memory of a row is a fingerprint of its
// key, some 50 bytes.
func (e *Engine) Import(ctx context.Context, in io.Reader, o ImportOptions) (ImportResult, error) {
	if o.Key = canonical(o.Key); o.Key == "" {
		o.Key = "Username"
	}
	copied, err := newCopy()
	if err != nil {
		return ImportResult{}, err
	}
	defer copied.close()
	wrong := refusals{file: o.Name}
	total := int64(0)
	err = eachRow(io.TeeReader(in, copied), o, wrong.add, func(row) error {
		total++
		return ctx.Err()
	})
	if copied.err != nil {
		return ImportResult{}, host.Errorf(host.Unavailable, "the copy of %s that the import works from: %w", o.Name, copied.err)
	}
	if err != nil {
		return ImportResult{}, err
	}
	if wrong.count > 0 && !o.KeepGoing {
		rows := "rows are"
		if wrong.count == 1 {
			rows = "row is"
		}
		return ImportResult{Refused: wrong.count, Errors: wrong.list()}, host.Errorf(host.InvalidInput, "%s: %d %s wrong; nothing was taken (--keep-going takes the good ones)", o.Name, wrong.count, rows)
	}
	var result ImportResult
	err = e.Store.Update(ctx, func(tx Tx) error {
		file, err := copied.rewind()
		if err != nil {
			return err
		}
		run := importRun{Engine: e, o: o, tx: tx, total: total, wrong: wrong.clone()}
		if err := run.do(ctx, file); err != nil {
			return err
		}
		result = run.result
		result.Refused, result.Errors = run.wrong.count, run.wrong.list()
		if o.Imported != nil {
			return o.Imported(ctx, tx, result)
		}
		return nil
	})
	return result, err
}

// importRun takes in the rows of a file within one transaction.
type importRun struct {
	*Engine
	o      ImportOptions
	tx     Tx
	total  int64
	wrong  refusals
	result ImportResult
	users  *userIndex // nil where users are found by username
}

func (r *importRun) do(ctx context.Context, file io.Reader) (err error) {
	if r.o.Key != "Username" {
		if r.users, err = indexUsers(ctx, r.tx, r.o.Key); err != nil {
			return err
		}
	}
	listed := map[fingerprint]bool{} // for Prune
	done := int64(0)
	known := func(row, string, string) {} // reported when the file came in
	err = eachRow(file, r.o, known, func(one row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.o.Prune {
			listed[fingerprintOf(keyOf(one.fields[r.o.Key]))] = true
		}
		field, message, err := r.take(ctx, one)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", one.place(r.o.Name, ""), err)
		case message != "" && !r.o.KeepGoing:
			return host.Errorf(host.InvalidInput, "%s%s; nothing was taken", one.place(r.o.Name, field), message)
		case message != "":
			r.wrong.add(one, field, message)
		}
		if done++; r.o.Progress != nil && (done%50 == 0 || done == r.total) {
			r.o.Progress(done, r.total)
		}
		return nil
	})
	if err != nil || !r.o.Prune {
		return err
	}
	if r.wrong.count > 0 {
		// Whoever a row is that was not taken would be disabled.
		r.wrong.note = "nobody was disabled: --prune needs every row to be taken"
		return nil
	}
	return r.prune(ctx, listed)
}

// take makes one row a user. message is what is wrong with the row.
func (r *importRun) take(ctx context.Context, one row) (field, message string, err error) {
	before, message, err := r.find(ctx, one.fields[r.o.Key])
	if err != nil || message != "" {
		return r.o.Key, message, err
	}
	after, err := merge(before, one.fields)
	if err == nil {
		err = validUser(after)
	}
	if err != nil {
		return fieldAndMessage(err)
	}
	made := 0
	switch {
	case before != nil && reflect.DeepEqual(before.User, after.User) && (before.DeletedDate == nil || !after.IsActive):
		r.result.Unchanged++
	case before == nil || !strings.EqualFold(before.Username, after.Username):
		other, err := r.tx.UserByUsername(ctx, after.Username)
		if err == nil && (before == nil || other.Id != before.Id) {
			return "Username", fmt.Sprintf("%q is another user's already", after.Username), nil
		}
		if err != nil && host.CodeOf(err) != host.NotFound {
			return "", "", err
		}
		fallthrough
	default:
		if before == nil {
			r.result.Created++
		} else {
			r.result.Updated++
		}
		if made, err = r.SaveUser(ctx, r.tx, before, after); err != nil {
			return "", "", err
		}
	}
	r.result.Requests += made
	for _, app := range r.o.Assign {
		made, err := r.Assign(ctx, r.tx, after.Id, app, true)
		if err != nil {
			return "", "", err
		}
		r.result.Requests += made
	}
	return "", "", nil
}

// find returns the user of a key, nil for nobody.
func (r *importRun) find(ctx context.Context, value any) (u *host.User, message string, err error) {
	if r.users == nil {
		u, err = r.tx.UserByUsername(ctx, fmt.Sprint(value))
	} else {
		id, known := r.users.byKey[fingerprintOf(keyOf(value))]
		switch {
		case !known:
			return nil, "", nil
		case id == "":
			return nil, fmt.Sprintf("%q is that of more than one user", fmt.Sprint(value)), nil
		}
		u, err = r.tx.User(ctx, id)
	}
	if host.CodeOf(err) == host.NotFound {
		return nil, "", nil
	}
	return u, "", err
}

// prune disables the users that the file does not have, unless they are so many
// that a person should look first.
func (r *importRun) prune(ctx context.Context, listed map[fingerprint]bool) error {
	var missing []string
	active := int64(0)
	if err := eachUser(ctx, r.tx, func(u *host.User) error {
		key := keyOf(fieldOf(u, r.o.Key))
		if key == "" || !u.IsActive {
			return nil
		}
		if active++; !listed[fingerprintOf(key)] {
			missing = append(missing, u.Id)
		}
		return nil
	}); err != nil {
		return err
	}
	why := r.tooMany(int64(len(missing)), active)
	var held []*host.User
	for _, id := range missing {
		u, err := r.tx.User(ctx, id) // with the apps
		if err != nil {
			return err
		}
		if why != "" {
			held = append(held, u)
			continue
		}
		made, err := r.Disable(ctx, r.tx, u)
		if err != nil {
			return err
		}
		r.result.Disabled++
		r.result.Requests += made
	}
	if why == "" {
		return nil
	}
	r.result.Quarantined = why
	if r.Quarantine == nil {
		return nil
	}
	plan, err := r.Quarantine(ctx, r.tx, held, active, why)
	if err == nil {
		r.result.QuarantinePlan = plan.Name()
	}
	return err
}

// tooMany says why so many must not be disabled without a person, "" where they
// may.
func (r *importRun) tooMany(n, of int64) string {
	t := r.o.MostDisabled
	share := 100 * float64(n) / float64(max(1, of))
	if !t.Set || !t.Share && n <= t.Count || t.Share && (n <= r.o.Smallest || share <= t.Percent) {
		return ""
	}
	return fmt.Sprintf("would disable %d of %d people (%.0f %%); the threshold is %s", n, of, share, t)
}

// Disable makes a user inactive.
func (e *Engine) Disable(ctx context.Context, tx Tx, u *host.User) (int, error) {
	after := *u
	after.IsActive = false
	return e.SaveUser(ctx, tx, u, &after)
}

// Delete takes a user out for good. The record stays, so that who comes back
// under the same name is known again; erasing is another thing.
func (e *Engine) Delete(ctx context.Context, tx Tx, u *host.User) (int, error) {
	if u.DeletedDate != nil {
		return 0, nil
	}
	after, now := *u, e.Now().UTC()
	after.IsActive, after.DeletedDate = false, &now
	return e.SaveUser(ctx, tx, u, &after)
}

// userIndex finds users by another field than the username.
type userIndex struct {
	byKey map[fingerprint]string // the user's id, "" for more than one
}

func indexUsers(ctx context.Context, tx Tx, field string) (*userIndex, error) {
	x := &userIndex{map[fingerprint]string{}}
	return x, eachUser(ctx, tx, func(u *host.User) error {
		if key := keyOf(fieldOf(u, field)); key != "" {
			f := fingerprintOf(key)
			if _, twice := x.byKey[f]; twice {
				x.byKey[f] = ""
			} else {
				x.byKey[f] = u.Id
			}
		}
		return nil
	})
}

// eachUser visits every user, without the apps, a page at a time.
func eachUser(ctx context.Context, tx Tx, visit func(*host.User) error) error {
	const most = 500
	for after := ""; ; {
		page, err := tx.UsersAfter(ctx, after, most)
		if err != nil {
			return err
		}
		for _, u := range page {
			if err := visit(u); err != nil {
				return err
			}
			after = u.Id
		}
		if len(page) < most {
			return nil
		}
	}
}

func keyOf(v any) string {
	if v == nil {
		return ""
	}
	return strings.ToLower(strings.TrimSpace(fmt.Sprint(v)))
}

// fieldsOf is a user's fields by name, the organisation's own beside them.
func fieldsOf(u *host.User) map[string]any {
	fields := map[string]any{}
	for k, v := range u.Custom {
		fields[k] = v
	}
	v := reflect.ValueOf(u.User)
	for name, i := range modelFields {
		fields[name] = v.Field(i).Interface()
	}
	return fields
}

// fieldOf is a user's field by name: the model's, or the organisation's own.
func fieldOf(u *host.User, name string) any {
	if i, ok := modelFields[name]; ok {
		return reflect.ValueOf(u.User).Field(i).Interface()
	}
	return u.Custom[name]
}

// modelFields are the fields of the model that a file may set, with their
// places in pdk.User.
var modelFields = func() map[string]int {
	fields := map[string]int{}
	t := reflect.TypeFor[pdk.User]()
	for i := range t.NumField() {
		if name := t.Field(i).Name; name != "Id" && name != "Custom" {
			fields[name] = i
		}
	}
	return fields
}()

// canonical is a field's name as the model writes it; any other stays as it
// is.
func canonical(name string) string {
	name = strings.TrimSpace(name)
	for field := range modelFields {
		if strings.EqualFold(field, name) {
			return field
		}
	}
	return name
}

// merge puts fields over a user. What the file does not name stays.
func merge(before *host.User, fields map[string]any) (*host.User, error) {
	after := new(host.User)
	after.IsActive = true
	if before != nil {
		*after = *before
	}
	custom := map[string]any{}
	for k, v := range after.Custom {
		custom[k] = v
	}
	v := reflect.ValueOf(&after.User).Elem()
	for name, value := range fields {
		i, ok := modelFields[name]
		if !ok {
			if value == nil || value == "" {
				delete(custom, name)
			} else {
				custom[name] = value
			}
			continue
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			b, err := boolean(value)
			if err != nil {
				return nil, &host.Error{Code: host.InvalidInput, Field: name, Message: err.Error()}
			}
			f.SetBool(b)
		case reflect.Slice:
			names, ok := texts(value)
			if !ok {
				return nil, &host.Error{Code: host.InvalidInput, Field: name, Message: `must be a list of texts, or one text with ";" between them`}
			}
			f.Set(reflect.ValueOf(names))
		default:
			switch s := value.(type) {
			case nil:
				f.SetString("")
			case string:
				f.SetString(s)
			case float64:
				f.SetString(strconv.FormatFloat(s, 'f', -1, 64))
			default:
				return nil, &host.Error{Code: host.InvalidInput, Field: name, Message: "must be text"}
			}
		}
	}
	after.Custom = nil
	if len(custom) > 0 {
		after.Custom = custom
	}
	return after, nil
}

// texts reads a list: one of JSON, or a cell such as "Sales; Reports".
func texts(v any) (list []string, ok bool) {
	switch v := v.(type) {
	case nil:
	case string:
		for part := range strings.SplitSeq(v, ";") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	case []any:
		for _, item := range v {
			text, is := item.(string)
			if !is {
				return nil, false
			}
			list = append(list, text)
		}
	default:
		return nil, false
	}
	return list, true
}

func boolean(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	switch s := strings.ToLower(strings.TrimSpace(fmt.Sprint(v))); s {
	case "true", "yes", "1", "active":
		return true, nil
	case "false", "no", "0", "inactive":
		return false, nil
	default:
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
}
