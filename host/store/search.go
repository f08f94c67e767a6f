package store

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What a search costs must not hang on what somebody types. Two ways lead to what
// is looked for, and each is bounded. Rows are walked in the order that is wanted,
// and their words compared: that soon finds what many rows have, and all of a
// few rows. What the walk does not find soon few rows have, and for that there
// is an index of words; it is asked for the seldom words only.

// bounds are what one page of a search may cost, in rows.
type bounds struct {
	// soon is how many a search walks at first: what is common it finds there.
	// walked is how many it walks before it asks the index.
	soon, walked int
	// searched is how many of the index it looks at.
	searched int
	// matched is how many of the index it looks at for what is to be sorted, and
	// sorted how many of them it sorts. More come by their numbers, or, where the
	// first pages were sorted, as the walk finds them, and pages are short.
	matched, sorted int
}

var searchBounds = bounds{soon: 200, walked: 3000, searched: 6000, matched: 15_000, sorted: 10_000}

// seldom: one of so many rows that were walked has a word. What more have the
// index is not asked for.
const seldom = 5

// search is what somebody looks for: rows that have words which begin as these
// do.
type search struct {
	// asked: something was asked for, be it without a word in it.
	asked bool
	words []string
	// text is an expression for the words of a row.
	text string
	// common are the words that the index is not asked for.
	common []string
	// index chooses from rows with words, ordered by number.
	index func(words []string) (from, clause, number string, arg any)
}

// wordsOf are the words of a text, as the search has them: letters and digits.
func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
}

func (t *Tx) searchOf(query, table, alias, index, text, vector string) search {
	s := search{asked: strings.TrimSpace(query) != "", words: wordsOf(query), text: text}
	s.index = func(words []string) (from, clause, number string, arg any) {
		if t.dialect == "sqlite" {
			return index + " CROSS JOIN " + table + " AS " + alias + " ON " + alias + ".number = " + index + ".rowid", index + " MATCH ?", index + ".rowid", `"` + strings.Join(words, `"* "`) + `"*`
		}
		return table + " AS " + alias, vector + " @@ to_tsquery('simple', ?)", alias + ".number", strings.Join(words, ":* & ") + ":*"
	}
	return s
}

func (t *Tx) accountSearch(query string) search {
	return t.searchOf(query, "user_prov_accounts", "a", "account_search", searched("a"), searchedWords("a"))
}

func (t *Tx) userSearch(query string) search {
	return t.searchOf(query, "users", "u", "user_search", "u.search", userWords("u"))
}

// has tells whether a text has all of the words, and notes in seen which.
func (s search) has(text string, seen []int) bool {
	all, words := true, wordsOf(text)
	for i, w := range s.words {
		if slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, w) }) {
			seen[i]++
		} else {
			all = false
		}
	}
	return all
}

// byNumber is the listing in the order of the rows' numbers, as the index has
// them, whatever sort was asked for.
func byNumber[T any](l *listing[T], numberOf func(*T) int64) *listing[T] {
	by := *l
	alias, _, _ := strings.Cut(l.key, ".")
	by.key, by.numbered, by.keyOf = alias+".number", true, func(row *T) string { return strconv.FormatInt(numberOf(row), 10) }
	by.sorts = make(map[string]string, len(l.sorts))
	for name := range l.sorts {
		by.sorts[name] = ""
	}
	return &by
}

// find lists what is searched for.
func find[T any](ctx context.Context, t *Tx, l *listing[T], w where, p Page, s search, numberOf func(*T) int64) ([]*T, string, error) {
	if !s.asked {
		return list(ctx, t, l, w, p)
	}
	from, err := l.placeOf(t, p)
	if err != nil || len(s.words) == 0 {
		return nil, "", err // signs only
	}
	sorted := l.sorts[strings.TrimPrefix(from.Sort, "-")] != ""
	if !sorted || from.Unsorted {
		return findByNumber(ctx, t, l, w, p, s, numberOf, from)
	}
	walked, err := walk(ctx, t, l, w, p, s, p.Limit+1)
	if err != nil {
		return nil, "", err
	}
	if walked.whole {
		return pageOf(ctx, t, l, walked, p, from.Sort, numberOf)
	}
	found, all, err := searchSorted(ctx, t, l, w, p, s.seldom(walked))
	switch {
	case err != nil:
		return nil, "", err
	case all:
		return pageOf(ctx, t, l, found, p, from.Sort, numberOf)
	case p.Cursor == "": // too many to sort
		from.Unsorted = true
		return findByNumber(ctx, t, l, w, p, s, numberOf, from)
	default:
		return pageOf(ctx, t, l, walked, p, from.Sort, numberOf)
	}
}

// findByNumber lists what is searched for by the numbers of the rows.
func findByNumber[T any](ctx context.Context, t *Tx, l *listing[T], w where, p Page, s search, numberOf func(*T) int64, from place) ([]*T, string, error) {
	l = byNumber(l, numberOf)
	l.unsorted = from.Unsorted
	found, err := walk(ctx, t, l, w, p, s, p.Limit+1)
	if err == nil && !found.whole {
		found, err = searchIndex(ctx, t, l, w, p, s.seldom(found), p.Limit+1)
	}
	if err != nil {
		return nil, "", err
	}
	return pageOf(ctx, t, l, found, p, from.Sort, numberOf)
}

// finding is what a search has found.
type finding struct {
	numbers []int64
	// whole: it has found as many as are wanted, or there are no more.
	whole bool
	// last is the last row that was looked at, read how many were.
	last int64
	read int
	// seen counts the rows that had each of the words.
	seen []int
}

// pageOf is the page of what was found in order. Where it is not whole, the page
// may be short: the next one goes on behind what was looked at.
func pageOf[T any](ctx context.Context, t *Tx, l *listing[T], f finding, p Page, sort string, numberOf func(*T) int64) ([]*T, string, error) {
	rows, err := rowsOf(ctx, t, l, f.numbers[:min(len(f.numbers), p.Limit)], numberOf)
	if err != nil {
		return nil, "", err
	}
	ends := rows
	switch {
	case len(f.numbers) > p.Limit:
	case f.whole:
		return rows, "", nil
	default:
		if ends, err = rowsOf(ctx, t, l, []int64{f.last}, numberOf); err != nil {
			return nil, "", err
		}
	}
	next, err := l.after(ctx, t, sort, ends[len(ends)-1])
	return rows, next, err
}

// look reads rows of (number, chosen, text) until it has found most.
func (t *Tx) look(ctx context.Context, query string, args []any, s search, most, limit int) (f finding, err error) {
	f.seen = make([]int, len(s.words))
	if listed != nil {
		listed(ctx, t, query, args)
	}
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered(query), t.arguments(args)...)
	if err != nil {
		return f, err
	}
	defer rows.Close()
	for len(f.numbers) < most && rows.Next() {
		var chosen bool
		var text string
		if err := rows.Scan(&f.last, &chosen, &text); err != nil {
			return f, err
		}
		f.read++
		if has := s.has(text, f.seen); has && chosen {
			f.numbers = append(f.numbers, f.last)
		}
	}
	f.whole = len(f.numbers) >= most || f.read < limit
	return f, rows.Err()
}

// walk looks at rows in the order of a listing until it has found most.
func walk[T any](ctx context.Context, t *Tx, l *listing[T], w where, p Page, s search, most int) (f finding, err error) {
	alias, _, _ := strings.Cut(l.key, ".")
	for _, limit := range []int{searchBounds.soon, searchBounds.walked} {
		query, args, _, err := l.query(t, w, p, alias+".number, 1 = 1, "+s.text, limit)
		if err != nil {
			return f, err
		}
		if f, err = t.look(ctx, query, args, s, most, limit); err != nil || f.whole {
			return f, err
		}
	}
	return f, nil
}

// seldom is the search that asks the index for the seldom words only, as a walk
// has found them.
func (s search) seldom(walked finding) search {
	var words, common []string
	for i, w := range s.words {
		if walked.seen[i]*seldom < walked.read {
			words = append(words, w)
		} else {
			common = append(common, w)
		}
	}
	if len(words) > 0 {
		index := s.index
		s.common = common
		s.index = func([]string) (from, clause, number string, arg any) { return index(words) }
	}
	return s
}

// searchIndex looks at rows that the index has, in the order of their numbers,
// until it has found most.
func searchIndex[T any](ctx context.Context, t *Tx, l *listing[T], w where, p Page, s search, most int) (finding, error) {
	from, clause, number, arg := s.index(s.words)
	of := where{from: from, clauses: []string{clause}, args: append(slices.Clone(w.args), arg)}
	columns := number + " AS number, " + w.chosen() + " AS chosen, " + s.text + " AS text"
	by := *l
	by.key = number
	if t.dialect == "postgres" { // or its planner may walk all rows, and compare each
		by.key = "m.number"
		of = where{from: "(WITH found AS MATERIALIZED (SELECT " + columns + " FROM " + of.text() + ") SELECT * FROM found) AS m", args: of.args}
		columns = "number, chosen, text"
	}
	query, args, _, err := by.query(t, of, p, columns, searchBounds.searched)
	if err != nil {
		return finding{}, err
	}
	return t.look(ctx, query, args, s, most, searchBounds.searched)
}

// chosen is an expression for whether a row is chosen.
func (w where) chosen() string {
	if len(w.clauses) == 0 {
		return "1 = 1"
	}
	return "COALESCE((" + strings.Join(w.clauses, " AND ") + "), FALSE)"
}

// searchSorted lists what the index has found in another order; all is false
// where that is too much to be sorted. The words that the index was not asked for
// are looked for within the text, and compared for the rows of the page only.
func searchSorted[T any](ctx context.Context, t *Tx, l *listing[T], w where, p Page, s search) (f finding, all bool, err error) {
	from, clause, number, arg := s.index(s.words)
	for _, word := range s.common {
		if strings.ContainsFunc(word, func(r rune) bool { return r > unicode.MaxASCII }) {
			continue // SQLite has a LOWER for ASCII alone; what is shown is compared
		}
		w.clauses, w.args = slices.Clone(w.clauses), slices.Clone(w.args)
		w.and("LOWER("+s.text+") LIKE ? ESCAPE '!'", like(word))
	}
	at, err := l.placeOf(t, p)
	if err != nil {
		return f, false, err
	}
	name, _ := strings.CutPrefix(at.Sort, "-")
	by := *l
	by.key, by.sorts = "k", map[string]string{name: "v"}
	query, rest, _, err := by.query(t, where{from: "found"}, p, "number, (SELECT COUNT(*) FROM m), (SELECT COUNT(*) FROM found)", p.Limit+1)
	if err != nil {
		return f, false, err
	}
	with := "WITH m AS MATERIALIZED (SELECT " + number + " AS number, " + w.chosen() + " AS chosen, " + l.sorts[name] + " AS v, " + l.key + " AS k FROM " + from + " WHERE " + clause + " LIMIT " + strconv.Itoa(searchBounds.matched+1) +
		"), found AS MATERIALIZED (SELECT number, v, k FROM m WHERE chosen) "
	// A last row has no number: the counts are there where no other row is.
	query = with + "SELECT * FROM (" + query + ") AS page UNION ALL SELECT NULL, (SELECT COUNT(*) FROM m), (SELECT COUNT(*) FROM found)"
	args := append(append(slices.Clone(w.args), arg), rest...)
	if listed != nil {
		listed(ctx, t, query, args)
	}
	rows, err := t.db.Tx.QueryContext(ctx, t.numbered(query), t.arguments(args)...)
	if err != nil {
		return f, false, err
	}
	defer rows.Close()
	var numbers []int64
	for rows.Next() {
		var n *int64
		var matched, found int
		if err := rows.Scan(&n, &matched, &found); err != nil {
			return f, false, err
		}
		if all = matched <= searchBounds.matched && found <= searchBounds.sorted; n != nil {
			numbers = append(numbers, *n)
		}
	}
	if err := rows.Err(); err != nil || !all || len(numbers) == 0 {
		return finding{whole: true}, all, err
	}
	f, err = compare(ctx, t, l, s, numbers)
	f.whole = len(numbers) <= p.Limit
	f.last = numbers[min(len(numbers), p.Limit)-1]
	f.numbers = slices.DeleteFunc(f.numbers, func(n int64) bool { return len(numbers) > p.Limit && n == numbers[p.Limit] })
	return f, true, err
}

// compare leaves those of some rows that have the words, in their order.
func compare[T any](ctx context.Context, t *Tx, l *listing[T], s search, numbers []int64) (finding, error) {
	alias, _, _ := strings.Cut(l.key, ".")
	w := where{from: t.recordOf((*T)(nil)).table + " AS " + alias}
	w.numbered(t, alias, numbers)
	f, err := t.look(ctx, "SELECT "+alias+".number, 1 = 1, "+s.text+" FROM "+w.text(), w.args, s, len(numbers), len(numbers))
	has := f.numbers
	f.numbers = slices.DeleteFunc(slices.Clone(numbers), func(n int64) bool { return !slices.Contains(has, n) })
	return f, err
}

// numbered chooses rows by their numbers.
func (w *where) numbered(t *Tx, alias string, numbers []int64) {
	text, _ := json.Marshal(append([]int64{}, numbers...)) // numbers can be written
	if t.dialect == "sqlite" {
		w.and(alias+".number IN (SELECT value FROM json_each(?))", string(text))
	} else {
		w.and(alias+".number IN (SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST(? AS JSONB)))", string(text))
	}
}

// rowsOf are the rows of numbers, in their order.
func rowsOf[T any](ctx context.Context, t *Tx, l *listing[T], numbers []int64, numberOf func(*T) int64) (rows []*T, err error) {
	if len(numbers) == 0 {
		return nil, nil
	}
	alias, _, _ := strings.Cut(l.key, ".")
	w := where{from: t.recordOf((*T)(nil)).table + " AS " + alias}
	w.numbered(t, alias, numbers)
	if err := t.scan(ctx, &rows, "SELECT "+t.recordOf((*T)(nil)).columns+" FROM "+w.text(), w.args...); err != nil {
		return nil, err
	}
	place := make(map[int64]int, len(numbers))
	for i, n := range numbers {
		place[n] = i
	}
	slices.SortFunc(rows, func(a, b *T) int { return place[numberOf(a)] - place[numberOf(b)] })
	return rows, nil
}

// countFound counts what is searched for. What many rows have is not counted to
// the end.
func countFound[T any](ctx context.Context, t *Tx, l *listing[T], w where, s search) (Counted, error) {
	if !s.asked {
		return t.count(ctx, w)
	}
	if len(s.words) == 0 {
		return Counted{}, nil
	}
	l = byNumber(l, func(*T) int64 { return 0 }) // it is not asked for
	walked, err := walk(ctx, t, l, w, Page{}, s, searchBounds.walked)
	if err != nil {
		return Counted{}, err
	}
	n := int64(len(walked.numbers))
	if walked.read < searchBounds.walked || n*seldom > int64(searchBounds.walked) {
		return Counted{N: n, More: walked.read == searchBounds.walked}, nil
	}
	found, err := searchIndex(ctx, t, l, w, Page{}, s.seldom(walked), searchBounds.searched)
	return Counted{N: max(n, int64(len(found.numbers))), More: found.read >= searchBounds.searched}, err
}
