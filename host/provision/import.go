package provision

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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
	// Progress is told how many rows are done; may be nil.
	Progress func(done, total int64)
}

// ImportResult counts what an import did.
type ImportResult struct {
	Created, Updated, Unchanged, Disabled, Requests int
	// Errors are the rows that were not taken, with line and column.
	Errors []string
}

// row is one user of a file: the fields that it names.
type row struct {
	line   int
	fields map[string]any
}

// mostErrors is how many mistakes of a file are listed.
const mostErrors = 50

// Import takes in a file of users, in one transaction.
func (e *Engine) Import(ctx context.Context, in io.Reader, o ImportOptions) (ImportResult, error) {
	if o.Key = canonical(o.Key); o.Key == "" {
		o.Key = "Username"
	}
	rows, problems, err := read(in, o)
	if err != nil {
		return ImportResult{}, err
	}
	if len(problems) > 0 && !o.KeepGoing {
		return ImportResult{Errors: problems}, host.Errorf(host.InvalidInput, "%s: %d rows are wrong; nothing was taken (--keep-going takes the good ones)", o.Name, len(problems))
	}
	var result ImportResult
	err = e.Store.Update(ctx, func(tx Tx) error {
		result = ImportResult{Errors: slices.Clone(problems)}
		return e.importRows(ctx, tx, rows, o, &result)
	})
	if err != nil {
		return ImportResult{Errors: result.Errors}, err
	}
	return result, nil
}

func (e *Engine) importRows(ctx context.Context, tx Tx, rows []row, o ImportOptions, result *ImportResult) error {
	byKey, err := existing(ctx, tx, o.Key)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, r := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		before := byKey[keyOf(r.fields[o.Key])]
		after, err := merge(before, r.fields)
		if err == nil {
			err = validUser(after)
		}
		if err != nil {
			text := fmt.Sprintf("%s:%d: %v", o.Name, r.line, err)
			if !o.KeepGoing {
				result.Errors = append(result.Errors, text)
				return host.Errorf(host.InvalidInput, "%s; nothing was taken", text)
			}
			result.Errors = append(result.Errors, text)
			continue
		}
		seen[keyOf(r.fields[o.Key])] = true
		made := 0
		switch {
		case before == nil:
			result.Created++
			made, err = e.SaveUser(ctx, tx, nil, after)
		case reflect.DeepEqual(before.User, after.User):
			result.Unchanged++
		default:
			result.Updated++
			made, err = e.SaveUser(ctx, tx, before, after)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", o.Name, r.line, err)
		}
		result.Requests += made
		for _, app := range o.Assign {
			made, err := e.Assign(ctx, tx, after.Id, app, true)
			if err != nil {
				return err
			}
			result.Requests += made
		}
		if o.Progress != nil && (i%50 == 49 || i == len(rows)-1) {
			o.Progress(int64(i+1), int64(len(rows)))
		}
	}
	if !o.Prune {
		return nil
	}
	for key, u := range byKey {
		if seen[key] || !u.IsActive {
			continue
		}
		made, err := e.Disable(ctx, tx, u)
		if err != nil {
			return err
		}
		result.Disabled++
		result.Requests += made
	}
	return nil
}

// Disable makes a user inactive.
func (e *Engine) Disable(ctx context.Context, tx Tx, u *host.User) (int, error) {
	after := *u
	after.IsActive = false
	return e.SaveUser(ctx, tx, u, &after)
}

// existing reads all users, by their key.
func existing(ctx context.Context, tx Tx, field string) (map[string]*host.User, error) {
	byKey := map[string]*host.User{}
	for after := ""; ; {
		page, err := tx.UsersAfter(ctx, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, u := range page {
			full, err := tx.User(ctx, u.Id) // with its apps
			if err != nil {
				return nil, err
			}
			if key := keyOf(fieldsOf(full)[field]); key != "" {
				byKey[key] = full
			}
			after = u.Id
		}
		if len(page) < 1000 {
			return byKey, nil
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

// read parses a whole file. problems are rows that can't be taken; an error is
// a file that can't be read at all.
func read(in io.Reader, o ImportOptions) (rows []row, problems []string, err error) {
	bad := func(line int, format string, args ...any) {
		if len(problems) < mostErrors {
			problems = append(problems, fmt.Sprintf("%s:%d: ", o.Name, line)+fmt.Sprintf(format, args...))
		}
	}
	switch o.Format {
	case "csv":
		rows, err = readCSV(in, bad)
	case "json":
		rows, err = readJSON(in, bad)
	case "jsonl", "ndjson":
		rows, err = readLines(in, bad)
	default:
		return nil, nil, host.Errorf(host.Usage, "%s: the format %q is none of csv, json, jsonl; give --format", o.Name, o.Format)
	}
	if err != nil {
		return nil, nil, host.Errorf(host.InvalidInput, "%s: %w", o.Name, err)
	}
	seen := map[string]int{}
	for _, field := range slices.Compact([]string{"Username", o.Key}) {
		clear(seen)
		rows = slices.DeleteFunc(rows, func(r row) bool {
			key := keyOf(r.fields[field])
			if key == "" {
				bad(r.line, "%s is missing", field)
				return true
			}
			if first, twice := seen[key]; twice {
				bad(r.line, "%s %q is the same as in line %d", field, r.fields[field], first)
				return true
			}
			seen[key] = r.line
			return false
		})
	}
	return rows, problems, nil
}

func readCSV(in io.Reader, bad func(int, string, ...any)) ([]row, error) {
	buffered := bufio.NewReader(in)
	if bom, err := buffered.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3) // peeked at, so it is there
	}
	c := csv.NewReader(buffered)
	c.FieldsPerRecord = -1
	header, err := c.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty; the first line names the fields")
		}
		return nil, err
	}
	seen := map[string]bool{}
	for i, name := range header {
		line, column := c.FieldPos(i)
		header[i] = canonical(name)
		switch {
		case !utf8.ValidString(name):
			return nil, fmt.Errorf("line %d, column %d: the field's name is no UTF-8", line, column)
		case header[i] == "":
			return nil, fmt.Errorf("line %d, column %d: a field has no name", line, column)
		case seen[header[i]]:
			return nil, fmt.Errorf("line %d, column %d: the field %s is named twice", line, column, header[i])
		}
		seen[header[i]] = true
	}
	if !seen["Username"] {
		return nil, fmt.Errorf("line 1: no field is named Username; there is %s", strings.Join(header, ", "))
	}
	var rows []row
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			bad(parse.Line, "column %d: %v", parse.Column, parse.Err)
			if errors.Is(parse.Err, csv.ErrQuote) {
				return rows, nil // what follows can't be told apart
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		line, _ := c.FieldPos(0)
		if len(record) != len(header) {
			bad(line, "has %d fields, the first line names %d", len(record), len(header))
			continue
		}
		fields := make(map[string]any, len(header))
		ok := true
		for i, v := range record {
			if !utf8.ValidString(v) {
				l, column := c.FieldPos(i)
				bad(l, "column %d (%s): is no UTF-8", column, header[i])
				ok = false
			}
			fields[header[i]] = v
		}
		if ok {
			rows = append(rows, row{line, fields})
		}
	}
}

func readJSON(in io.Reader, bad func(int, string, ...any)) ([]row, error) {
	d := json.NewDecoder(in)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("is no JSON list of users")
	}
	var rows []row
	for n := 1; d.More(); n++ {
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("user %d: %w (byte %d)", n, err, d.InputOffset())
		}
		if fields, err := object(raw); err != nil {
			bad(n, "%v", err)
		} else {
			rows = append(rows, row{n, fields})
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("the list does not end: %w", err)
	}
	return rows, nil
}

func readLines(in io.Reader, bad func(int, string, ...any)) ([]row, error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	var rows []row
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if fields, err := object(lines.Bytes()); err != nil {
			bad(n, "%v", err)
		} else {
			rows = append(rows, row{n, fields})
		}
	}
	return rows, lines.Err()
}

// object reads one user's fields from JSON.
func object(raw []byte) (map[string]any, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("is no UTF-8")
	}
	var in map[string]any
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("is no JSON object: %w", err)
	}
	fields := make(map[string]any, len(in))
	for name, v := range in {
		if nested, ok := v.(map[string]any); ok && strings.EqualFold(name, "Custom") {
			for k, v := range nested {
				fields[k] = v
			}
			continue
		}
		switch name {
		case "Id", "Apps", "CreatedDate", "LastModifiedDate": // ours, as user list writes them
			continue
		}
		fields[canonical(name)] = v
	}
	return fields, nil
}
