package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun/schema"
)

// What is done for every request goes as statements with parameters, which
// both databases need to parse only once; bun writes values into the text. The
// records' tags are bun's all the same.

// numbered turns each ? into $1, $2, … where the database wants them so. The
// texts hold no ? of another kind.
func (t *Tx) numbered(query string) string {
	if t.dialect == "sqlite" {
		return query
	}
	if done, ok := numberedTexts.Load(query); ok {
		return done.(string)
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	numberedTexts.Store(query, b.String())
	return b.String()
}

var numberedTexts sync.Map // text by text; the texts are those of this package

func (t *Tx) exec(ctx context.Context, query string, args ...any) (affected int64, err error) {
	result, err := t.db.Tx.ExecContext(ctx, t.numbered(query), t.arguments(args)...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// scan reads all rows of a query into dest, a pointer to a slice of pointers to
// records or of values.
func (t *Tx) scan(ctx context.Context, dest any, query string, args ...any) error {
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered(query), t.arguments(args)...)
	if err != nil {
		return err
	}
	return t.bun.ScanRows(ctx, rows, dest)
}

// arguments writes times as bun does, so that they compare.
func (t *Tx) arguments(args []any) []any {
	for i, a := range args {
		switch v := a.(type) {
		case time.Time:
			args[i] = t.time(v)
		case *time.Time:
			if args[i] = nil; v != nil {
				args[i] = t.time(*v)
			}
		}
	}
	return args
}

func (t *Tx) time(v time.Time) any {
	if t.dialect == "sqlite" {
		return v.UTC().Format("2006-01-02 15:04:05.999999-07:00")
	}
	return v.UTC()
}

// record is a kind of record, as its tags say.
type record struct {
	table   string
	columns string // "a, b, c"
	insert  string // but for the number, which it returns
	update  string // "a = ?, b = ?" of what may change
	// fields are those of insert, changing those of update.
	fields, changing []*schema.Field
}

// fixed are the columns of a record that never change. To name them in an
// update costs the indexes that they are in: a database writes those anew, even
// with the same values.
var fixed = map[string][]string{
	"user_provisioning_requests": {"id", "operation", "app_name", "connected_app_id", "user_prov_config_id", "user_id", "parent_id", "created_date"},
	"user_prov_accounts":         {"id", "app_name", "created_date"},
}

var records sync.Map // *record by type and dialect

func (t *Tx) recordOf(model any) *record {
	typ := reflect.TypeOf(model).Elem()
	key := struct {
		reflect.Type
		dialect string
	}{typ, t.dialect}
	if r, ok := records.Load(key); ok {
		return r.(*record)
	}
	table := t.bun.Table(typ)
	r := &record{table: table.Name}
	var names, own, marks, sets []string
	for _, f := range table.Fields {
		names = append(names, f.Name)
		if f.AutoIncrement {
			continue
		}
		r.fields = append(r.fields, f)
		own, marks = append(own, f.Name), append(marks, "?")
		if !slices.Contains(fixed[table.Name], f.Name) {
			r.changing = append(r.changing, f)
			sets = append(sets, f.Name+" = ?")
		}
	}
	r.columns = strings.Join(names, ", ")
	r.insert = "INSERT INTO " + r.table + " (" + strings.Join(own, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
	r.update = strings.Join(sets, ", ")
	records.Store(key, r)
	return r
}

// valuesOf are a record's, as the database takes them.
func valuesOf(model any, fields []*schema.Field) ([]any, error) {
	v := reflect.ValueOf(model).Elem()
	out := make([]any, len(fields))
	for i, f := range fields {
		field := f.Value(v)
		switch {
		case f.NullZero && f.HasZeroValue(v), field.Kind() == reflect.Pointer && field.IsNil():
		case f.Tag.HasOption("type"):
			text, err := json.Marshal(field.Interface())
			if err != nil {
				return nil, err
			}
			out[i] = string(text)
		case field.Kind() == reflect.String:
			out[i] = field.String()
		case field.Kind() == reflect.Pointer:
			out[i] = field.Elem().Interface()
		default:
			out[i] = field.Interface()
		}
	}
	return out, nil
}

// insert stores a new record and reads its number.
func (t *Tx) insert(ctx context.Context, model any, number *int64) error {
	r := t.recordOf(model)
	values, err := valuesOf(model, r.fields)
	if err != nil {
		return err
	}
	return t.db.Tx.QueryRowContext(ctx, t.numbered(r.insert+" RETURNING number"), t.arguments(values)...).Scan(number)
}

// change stores a changed record where a condition holds, and tells whether it
// did.
func (t *Tx) change(ctx context.Context, model any, where string, args ...any) (bool, error) {
	r := t.recordOf(model)
	values, err := valuesOf(model, r.changing)
	if err != nil {
		return false, err
	}
	n, err := t.exec(ctx, "UPDATE "+r.table+" SET "+r.update+" WHERE "+where, append(values, args...)...)
	return n > 0, err
}

// one reads the record for which a condition holds; [sql.ErrNoRows] for none.
func (t *Tx) one(ctx context.Context, model any, where string, args ...any) error {
	r := t.recordOf(model)
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered("SELECT "+r.columns+" FROM "+r.table+" WHERE "+where+" LIMIT 1"), t.arguments(args)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	return t.bun.ScanRow(ctx, rows, model)
}
