package provision

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/provosthq/provost/host"
)

// row is one user of a file: the fields that it names, and where it stands.
type row struct {
	line, column int
	fields       map[string]any
	// at is where a field stands; nil where only the row's place is known.
	at func(field string) (line, column int)
}

// place is "file:line: column n (Field): ", as far as it is known.
func (r row) place(file, field string) string {
	line, column := r.line, r.column
	if r.at != nil && field != "" {
		if l, c := r.at(field); c > 0 {
			line, column = l, c
		}
	}
	s := fmt.Sprintf("%s:%d: ", file, line)
	switch {
	case column > 0 && field != "":
		s += fmt.Sprintf("column %d (%s): ", column, field)
	case column > 0:
		s += fmt.Sprintf("column %d: ", column)
	case field != "":
		s += field + ": "
	}
	return s
}

// refusals are the rows that can't be taken: a count, and why of the first.
type refusals struct {
	file  string
	count int
	first []string
	note  string
}

// mostErrors is how many mistakes of a file are listed.
const mostErrors = 50

func (w *refusals) add(r row, field, message string) {
	if w.count++; len(w.first) < mostErrors {
		w.first = append(w.first, r.place(w.file, field)+message)
	}
}

func (w *refusals) clone() refusals {
	c := *w
	c.first = slices.Clone(w.first)
	return c
}

func (w *refusals) list() []string {
	list := slices.Clone(w.first)
	if more := w.count - len(list); more > 0 {
		list = append(list, fmt.Sprintf("… and %d more", more))
	}
	if w.note != "" {
		list = append(list, w.note)
	}
	return list
}

// fieldAndMessage takes an error of a row apart; another error stays one.
func fieldAndMessage(err error) (field, message string, other error) {
	var known *host.Error
	if errors.As(err, &known) && known.Code == host.InvalidInput {
		return known.Field, known.Message, nil
	}
	return "", "", err
}

// fingerprint stands for a key where all keys of a file must be remembered.
type fingerprint [16]byte

func fingerprintOf(key string) fingerprint {
	sum := sha256.Sum256([]byte(key))
	return fingerprint(sum[:])
}

// copyOf is a temporary file, which goes with the process.
type copyOf struct {
	file *os.File
	err  error // of a write
}

func newCopy() (*copyOf, error) {
	f, err := os.CreateTemp("", "provost-import-*") // for this user's eyes only
	if err != nil {
		return nil, host.Errorf(host.Unavailable, "no temporary file for the import: %w", err)
	}
	_ = os.Remove(f.Name()) // where a file in use can't be removed, close does it
	return &copyOf{file: f}, nil
}

func (c *copyOf) Write(p []byte) (int, error) {
	n, err := c.file.Write(p)
	c.err = errors.Join(c.err, err)
	return n, err
}

func (c *copyOf) rewind() (io.Reader, error) {
	_, err := c.file.Seek(0, io.SeekStart)
	return c.file, err
}

func (c *copyOf) close() {
	_ = c.file.Close()           // it is only read by now
	_ = os.Remove(c.file.Name()) // mostly removed already
}

// maxRowBytes bounds one user of a file.
const maxRowBytes = 1 << 20

// rowReader ends a row that is too large, so that a file without line ends
// takes no more memory than one with.
type rowReader struct {
	in   io.Reader
	left int
	// of is what the rows are.
	of kind
}

// kind is what the rows of a file are: which field each must have, and how a
// field's name is written.
type kind struct {
	needs     string
	canonical func(string) string
	// ours are fields that a listing writes and that are not taken.
	ours []string
}

var userRows = kind{"Username", canonical, []string{"Id", "Apps", "CreatedDate", "LastModifiedDate"}}

var errRowTooLarge = fmt.Errorf("a user has more than %d bytes", maxRowBytes)

func (r *rowReader) next() { r.left = maxRowBytes }

func (r *rowReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errRowTooLarge
	}
	n, err := r.in.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// eachRow reads a file row by row: take gets the good ones, bad is told of
// each other. An error is a file that can't be read any further, or take's.
func eachRow(in io.Reader, o ImportOptions, bad func(r row, field, message string), take func(row) error) error {
	var read func(*rowReader, func(row, string, string), func(row) error) error
	switch o.Format {
	case "csv":
		read = eachCSV
	case "json":
		read = eachJSON
	case "jsonl", "ndjson":
		read = eachLine
	default:
		return host.Errorf(host.Usage, "%s: the format %q is none of csv, json, jsonl; give --format", o.Name, o.Format)
	}
	seen := map[string]map[fingerprint]int{"Username": {}, o.Key: {}}
	var taken error
	err := read(&rowReader{in, maxRowBytes, userRows}, bad, func(r row) error {
		for field, lines := range seen {
			key := keyOf(r.fields[field])
			if key == "" {
				bad(r, field, "is missing")
				return nil
			}
			if first, twice := lines[fingerprintOf(key)]; twice {
				bad(r, field, fmt.Sprintf("%q is the same as in line %d", fmt.Sprint(r.fields[field]), first))
				return nil
			}
		}
		for field, lines := range seen {
			lines[fingerprintOf(keyOf(r.fields[field]))] = r.line
		}
		// What a row says must hold for whomever it is about.
		alone, err := merge(nil, r.fields)
		if err == nil {
			err = validUser(alone)
		}
		if field, message, _ := fieldAndMessage(err); message != "" {
			bad(r, field, message)
			return nil
		}
		taken = take(r)
		return taken
	})
	if err != nil && taken == nil {
		return host.Errorf(host.InvalidInput, "%s: %w", o.Name, err)
	}
	return err
}

func eachCSV(in *rowReader, bad func(row, string, string), take func(row) error) error {
	buffered := bufio.NewReader(in)
	if bom, err := buffered.Peek(3); err == nil && bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3) // peeked at, so it is there
	}
	c := csv.NewReader(buffered)
	c.FieldsPerRecord, c.ReuseRecord = -1, true
	first, err := c.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the file is empty; the first line names the fields")
		}
		return err
	}
	header := slices.Clone(first)
	places := map[string]int{}
	for i, name := range header {
		line, column := c.FieldPos(i)
		header[i] = in.of.canonical(strings.TrimSpace(name))
		_, twice := places[header[i]]
		switch {
		case !utf8.ValidString(name):
			return fmt.Errorf("line %d, column %d: the field's name is no UTF-8", line, column)
		case header[i] == "":
			return fmt.Errorf("line %d, column %d: a field has no name", line, column)
		case twice:
			return fmt.Errorf("line %d, column %d: the field %s is named twice", line, column, header[i])
		}
		places[header[i]] = i
	}
	if _, ok := places[in.of.needs]; !ok {
		return fmt.Errorf("line 1: no field is named %s; there is %s", in.of.needs, strings.Join(header, ", "))
	}
	fields := 0
	at := func(field string) (line, column int) {
		if i, ok := places[field]; ok && i < fields {
			return c.FieldPos(i)
		}
		return 0, 0
	}
	for {
		in.next()
		record, err := c.Read()
		fields = len(record)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			bad(row{line: parse.Line, column: parse.Column}, "", parse.Err.Error())
			if errors.Is(parse.Err, csv.ErrQuote) {
				return nil // what follows can't be told apart
			}
			continue
		}
		if err != nil {
			return err
		}
		line, _ := c.FieldPos(0)
		r := row{line: line, fields: make(map[string]any, len(header)), at: at}
		if len(record) != len(header) {
			bad(r, "", fmt.Sprintf("has %d fields, the first line names %d", len(record), len(header)))
			continue
		}
		ok := true
		for i, v := range record {
			if !utf8.ValidString(v) {
				bad(r, header[i], "is no UTF-8")
				ok = false
				break
			}
			r.fields[header[i]] = v
		}
		if !ok {
			continue
		}
		if err := take(r); err != nil {
			return err
		}
	}
}

// lineReader knows the line of an offset that lies not before the last one
// asked for.
type lineReader struct {
	in     io.Reader
	read   int64
	ahead  []int64 // offsets of the line ends that were read and not passed
	line   int
	begins int64
}

func (l *lineReader) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			l.ahead = append(l.ahead, l.read+int64(i))
		}
	}
	l.read += int64(n)
	return n, err
}

func (l *lineReader) at(offset int64) (line, column int) {
	passed := 0
	for passed < len(l.ahead) && l.ahead[passed] < offset {
		l.line, l.begins = l.line+1, l.ahead[passed]+1
		passed++
	}
	l.ahead = slices.Delete(l.ahead, 0, passed)
	return l.line + 1, int(offset-l.begins) + 1
}

func eachJSON(in *rowReader, bad func(row, string, string), take func(row) error) error {
	lines := &lineReader{in: in}
	d := json.NewDecoder(lines)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("is no JSON list of users")
	}
	for n := 1; ; n++ {
		in.next()
		if !d.More() {
			break
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			line, column := lines.at(max(0, d.InputOffset()-1))
			return fmt.Errorf("user %d, after line %d, column %d: %w", n, line, column, err)
		}
		var r row
		r.line, r.column = lines.at(d.InputOffset() - int64(len(raw)))
		var err error
		if r.fields, err = in.of.object(raw); err != nil {
			bad(r, "", err.Error())
			continue
		}
		if err := take(r); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("the list does not end: %w", err)
	}
	return nil
}

func eachLine(in *rowReader, bad func(row, string, string), take func(row) error) error {
	lines := bufio.NewReader(in)
	var line []byte
	for n := 1; ; n++ {
		in.next()
		line = line[:0]
		var err error
		for {
			var part []byte
			part, err = lines.ReadSlice('\n')
			line = append(line, part...)
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			r := row{line: n}
			var wrong error
			if r.fields, wrong = in.of.object(line); wrong != nil {
				var syntax *json.SyntaxError
				if errors.As(wrong, &syntax) {
					r.column = int(syntax.Offset)
				}
				bad(r, "", wrong.Error())
			} else if err := take(r); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// object reads the fields of one row from JSON.
func (k kind) object(raw []byte) (map[string]any, error) {
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
		if !slices.Contains(k.ours, name) {
			fields[k.canonical(name)] = v
		}
	}
	return fields, nil
}

// AccountRows reads a file of accounts, one after the other: CSV, JSON or JSON
// Lines. place names the row in messages. The first mistake ends it.
func AccountRows(in io.Reader, name, format string, take func(place string, fields map[string]any) error) error {
	fields := []string{"ExternalUserId", "ExternalUsername", "ExternalFirstName", "ExternalLastName", "ExternalEmail", "Status"}
	of := kind{"ExternalUserId", func(given string) string {
		for _, field := range fields {
			if strings.EqualFold(field, given) {
				return field
			}
		}
		return given
	}, nil}
	var read func(*rowReader, func(row, string, string), func(row) error) error
	switch format {
	case "csv":
		read = eachCSV
	case "json":
		read = eachJSON
	case "jsonl", "ndjson":
		read = eachLine
	default:
		return host.Errorf(host.Usage, "%s: the format %q is none of csv, json, jsonl; give --format", name, format)
	}
	var wrong, taken error
	bad := func(r row, field, message string) {
		if wrong == nil {
			wrong = host.Errorf(host.InvalidInput, "%s%s; nothing was taken", r.place(name, field), message)
		}
	}
	err := read(&rowReader{in, maxRowBytes, of}, bad, func(r row) error {
		if wrong != nil {
			return wrong
		}
		taken = take(r.place(name, ""), r.fields)
		return taken
	})
	switch {
	case wrong != nil:
		return wrong
	case err != nil && taken == nil:
		return host.Errorf(host.InvalidInput, "%s: %w", name, err)
	default:
		return err
	}
}

// Spooled is a copy of something that is read once, in a temporary file that
// goes with the process.
type Spooled struct{ copied *copyOf }

// Spool copies all of in.
func Spool(in io.Reader) (*Spooled, error) {
	c, err := newCopy()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(c, in); err != nil {
		c.close()
		return nil, host.Errorf(host.Unavailable, "the file can't be copied: %w", err)
	}
	return &Spooled{c}, nil
}

// Rewind begins to read from the start.
func (s *Spooled) Rewind() (io.Reader, error) { return s.copied.rewind() }

// Close removes the copy.
func (s *Spooled) Close() { s.copied.close() }
